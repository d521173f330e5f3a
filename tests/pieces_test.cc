// Storages that lie in several pieces of several files, as those of distributed checkpoints do: loaded, filled, verified
// and converted. The Indexes are made by hand, over files in memory.
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "emulated.h"
#include "golden.h"
#include "io/crc32.h"
#include "plan/box.h"
#include "plan/compose.h"
#include "plan/plans.h"
#include "transload/transload.h"
#include "verify.h"
#include "writing.h"

namespace transload {
namespace {

namespace fs = std::filesystem;

// A part of a tensor: elements from `begin` on in each dimension.
struct Block {
  Dims begin, shape;
};

// How a tensor is cut: each dimension in so many parts, as even as they can be.
std::vector<Block> blocks(const Dims& shape, const Dims& parts) {
  std::vector<Block> made{{Dims(std::vector<std::int64_t>(shape.size())), shape}};
  for (std::size_t d = 0; d < shape.size(); ++d) {
    std::vector<Block> finer;
    for (const Block& block : made) {
      for (std::int64_t p = 0; p < parts[d]; ++p) {
        Block part = block;
        part.begin[d] = shape[d] * p / parts[d];
        part.shape[d] = shape[d] * (p + 1) / parts[d] - part.begin[d];
        if (part.shape[d] > 0) finer.push_back(part);
      }
    }
    made = finer;
  }
  return made;
}

std::string deflated(const std::string& bytes) {
  std::string out(bytes.size() + 100, '\0');
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

struct Encoded {
  bool swap = false, deflate = false;
};

// An Index of one storage, which one row-major tensor "w" covers: its elements are 1, 2, 3, …
class Checkpoint {
 public:
  Checkpoint(Dims shape, Dtype dtype, Encoded encoded = {})
      : shape_(shape), dtype_(dtype), encoded_(encoded) {
    const Tensor counting = empty(shape, Dtype::int32);
    for (std::int64_t i = 0; i < counting.numel(); ++i)
      reinterpret_cast<std::int32_t*>(counting.data())[i] = static_cast<std::int32_t>(i + 1);
    whole_ = empty(shape, dtype);
    copy(whole_, counting);
    const std::uint64_t nbytes = whole_.nbytes();
    const Storage meta(kMeta, nullptr, nbytes, std::make_shared<char>());
    index_.format = "made by hand";
    index_.locations = {"cpu"};
    index_.storages = {{nbytes, 0, swap_unit(), dtype, "0"}};
    index_.contents.set("w", Tensor(meta, dtype, shape, contiguous_strides(shape)));
    // For a verification, which looks for checksums of values else.
    index_.metadata_members.push_back({"values", {0, 0, 0}, 0, Encoding::as_is, 0, 0});
  }

  void add(const Block& block) {
    const Dims stride = contiguous_strides(shape_);
    Tensor part(whole_.storage(), dtype_, block.shape, stride, offset(block.begin));
    std::vector<std::byte> bytes = element_bytes(part);
    auto box = std::make_shared<Box>(
        Box{block.shape, contiguous_strides(block.shape), stride, 0,
            static_cast<std::uint64_t>(offset(block.begin)) * itemsize(dtype_)});
    add_piece(std::move(bytes), 0, std::move(box));
  }

  // Elements [begin, end) of the storage, in order.
  void add_run(std::int64_t begin, std::int64_t end) {
    const Tensor part(whole_.storage(), dtype_, {end - begin}, {1}, begin);
    add_piece(element_bytes(part), static_cast<std::uint64_t>(begin) * itemsize(dtype_), nullptr);
  }

  // All files get their bytes.
  const Index& index() {
    for (std::size_t f = index_.files.size(); f < files_.size(); ++f)
      index_.files.push_back(file_in_memory("file" + std::to_string(f), files_[f]));
    return index_;
  }

  void damage_last_piece() { files_.back()[files_.back().size() - 1] ^= 1; }
  const Tensor& whole() const { return whole_; }

 private:
  std::int64_t offset(const Dims& begin) const {
    const Dims stride = contiguous_strides(shape_);
    std::int64_t elements = 0;
    for (std::size_t d = 0; d < begin.size(); ++d) elements += begin[d] * stride[d];
    return elements;
  }
  std::uint8_t swap_unit() const {
    const bool is_complex = info(dtype_).kind == DtypeKind::complex;
    return static_cast<std::uint8_t>(encoded_.swap ? itemsize(dtype_) / (is_complex ? 2 : 1) : 1);
  }

  void add_piece(std::vector<std::byte> bytes, std::uint64_t byte_offset,
                 std::shared_ptr<const Box> box) {
    if (encoded_.swap) {
      for (auto at = bytes.begin(); at != bytes.end(); at += swap_unit())
        std::reverse(at, at + swap_unit());
    }
    const std::uint32_t crc = crc32_of(bytes);
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (encoded_.deflate) text = deflated(text);
    // Two files in turn, with something between the pieces.
    const auto f = static_cast<std::uint32_t>(index_.pieces.size() % 2);
    files_.resize(std::max<std::size_t>(files_.size(), f + 1));
    files_[f] += "----";
    index_.pieces.push_back({0,
                             byte_offset,
                             bytes.size(),
                             {f, files_[f].size(), text.size()},
                             encoded_.deflate ? Encoding::deflated : Encoding::as_is,
                             crc,
                             std::move(box),
                             static_cast<std::uint8_t>(itemsize(dtype_))});
    files_[f] += text;
  }

  Dims shape_;
  Dtype dtype_;
  Encoded encoded_;
  Tensor whole_;
  Index index_;
  std::vector<std::string> files_;
};

const std::vector<Encoded> kEncodings = {{}, {.swap = true}, {.deflate = true}, {true, true}};

// Every way to cut these shapes by their dimensions, as checkpoints.
template <class Work>
void for_each_cut(const Work& work) {
  const std::vector<Dims> shapes = {{1}, {7}, {3, 4}, {4, 6}, {2, 3, 4}, {3, 1, 5}, {2, 3, 2, 3}};
  for (const Dims& shape : shapes) {
    std::vector<std::vector<std::int64_t>> cuts{{}};
    for (const std::int64_t size : shape) {
      std::vector<std::vector<std::int64_t>> longer;
      for (const auto& cut : cuts) {
        for (std::int64_t parts = 1; parts <= std::min<std::int64_t>(size, 3); ++parts) {
          longer.push_back(cut);
          longer.back().push_back(parts);
        }
      }
      cuts = longer;
    }
    for (const auto& cut : cuts) {
      if (std::accumulate(cut.begin(), cut.end(), std::int64_t{1}, std::multiplies<>()) > 8)
        continue;
      for (const Encoded encoded : kEncodings) {
        SCOPED_TRACE(shape.str() + " cut in " + Dims(cut).str() +
                     (encoded.swap ? ", swapped" : "") + (encoded.deflate ? ", deflated" : ""));
        for (const Dtype dtype : {Dtype::int16, Dtype::complex64}) {
          Checkpoint checkpoint(shape, dtype, encoded);
          for (const Block& block : blocks(shape, Dims(cut))) checkpoint.add(block);
          work(checkpoint, shape);
          if (testing::Test::HasFailure()) return;
        }
      }
    }
  }
}

// A live tensor whose elements lie in the order of its dimensions as permuted, with gaps.
Tensor strided(const Dims& shape, const std::vector<std::size_t>& order, Dtype dtype,
               Device device = kCpu) {
  std::vector<std::int64_t> stride(shape.size());
  std::int64_t step = 2;  // every second element
  for (std::size_t i = order.size(); i-- > 0;) {
    stride[order[i]] = step;
    step *= shape[order[i]];
  }
  const Tensor home = zeros({step + 3}, dtype, device);
  return {home.storage(), dtype, shape, Dims(stride), 3};
}

TEST(Pieces, OfAnyCutAreLoaded) {
  for_each_cut([](Checkpoint& checkpoint, const Dims&) {
    const StateDict loaded = load(checkpoint.index(), {.verify = true});
    EXPECT_EQ(element_bytes(loaded.tensor("w")), element_bytes(checkpoint.whole()));
  });
}

TEST(Pieces, FillLiveTensorsOfAnyStrides) {
  for_each_cut([](Checkpoint& checkpoint, const Dims& shape) {
    std::vector<std::size_t> order(shape.size());
    std::iota(order.begin(), order.end(), 0);
    do {
      StateDict live;
      live.set("w", strided(shape, order, checkpoint.whole().dtype()));
      load_into(live, checkpoint.index(), {.verify = true});
      EXPECT_EQ(element_bytes(live.tensor("w")), element_bytes(checkpoint.whole()));
    } while (std::ranges::next_permutation(order).found);
  });
}

TEST(Pieces, AreCastOnTheirWay) {
  for_each_cut([](Checkpoint& checkpoint, const Dims& shape) {
    if (checkpoint.whole().dtype() != Dtype::int16) return;
    const Tensor expected = empty(shape, Dtype::float64);
    copy(expected, checkpoint.whole());
    StateDict live;
    live.set("w", zeros(shape, Dtype::float64));
    load_into(live, checkpoint.index());
    EXPECT_EQ(element_bytes(live.tensor("w")), element_bytes(expected));
  });
  Checkpoint floats({4, 6}, Dtype::float32);
  for (const Block& block : blocks({4, 6}, {2, 3})) floats.add(block);
  const Tensor loaded = load(floats.index(), {.dtype = Dtype::float64}).tensor("w");
  ASSERT_EQ(loaded.dtype(), Dtype::float64);
  for (int i = 0; i < 24; ++i) EXPECT_EQ(reinterpret_cast<double*>(loaded.data())[i], i + 1);
}

// Runs that begin and end anywhere: every pair of places to cut at.
TEST(Pieces, ThatAreRunsOfElementsFillTransposedTensors) {
  const Dims shape{3, 2, 4};
  for (std::int64_t a = 0; a <= 24; ++a) {
    for (std::int64_t b = a; b <= 24; ++b) {
      Checkpoint checkpoint(shape, Dtype::int16);
      for (const auto& [begin, end] :
           {std::pair{std::int64_t{0}, a}, {a, b}, {b, std::int64_t{24}}})
        if (begin < end) checkpoint.add_run(begin, end);
      for (const auto& order : {std::vector<std::size_t>{2, 1, 0}, {0, 2, 1}, {1, 0, 2}}) {
        StateDict live;
        live.set("w", strided(shape, order, Dtype::int16));
        load_into(live, checkpoint.index());
        ASSERT_EQ(element_bytes(live.tensor("w")), element_bytes(checkpoint.whole()))
            << "cut at " << a << " and " << b;
      }
      EXPECT_EQ(element_bytes(load(checkpoint.index()).tensor("w")),
                element_bytes(checkpoint.whole()));
    }
  }
}

TEST(Pieces, ReachEmulatedDevices) {
  const Emulated emulated;
  emulated.find<decltype(fake_cuda_configure)>("fake_cuda_configure")(2, 64ull << 20);
  for (const Encoded encoded : kEncodings) {
    Checkpoint checkpoint({4, 6}, Dtype::float32, encoded);
    for (const Block& block : blocks({4, 6}, {2, 2})) checkpoint.add(block);
    const StateDict loaded = load(checkpoint.index(), {.map_location = "cuda:1"});
    EXPECT_EQ(loaded.tensor("w").device(), cuda(1));
    EXPECT_EQ(element_bytes(loaded.tensor("w")), element_bytes(checkpoint.whole()));
    StateDict live;
    live.set("w", strided({4, 6}, {1, 0}, Dtype::float32, cuda(0)));
    load_into(live, checkpoint.index());
    EXPECT_EQ(element_bytes(live.tensor("w")), element_bytes(checkpoint.whole()));
  }
}

class PiecesOnDisk : public golden::TemporaryFolder {
 protected:
  // Through plan_convert and the engine; with large pieces past the page cache.
  fs::path convert_index(const Index& index, const std::string& name) {
    const fs::path to = path(name);
    const Format& format = format_to_write(to, "");
    const Layout layout = lay_out(format, index.contents, tags_of(index), to, {});
    write(format, layout, to, &index, {},
          [&](const WriteFacts& facts) { return plan_convert(index, layout, facts, {}); });
    return to;
  }
};

TEST_F(PiecesOnDisk, BecomeOneStorageWhenConverted) {
  for_each_cut([&](Checkpoint& checkpoint, const Dims&) {
    const fs::path file = convert_index(checkpoint.index(), "whole.pt");
    EXPECT_NO_THROW(verify(file));  // the checksums that were summed out of order
    EXPECT_EQ(element_bytes(load(file).tensor("w")), element_bytes(checkpoint.whole()));
  });
}

TEST_F(PiecesOnDisk, LongerThanAStagingSlotAreConverted) {
  const Dims shape{3000, 1500};
  for (const Dims& cut : {Dims{1, 2}, Dims{3, 1}, Dims{2, 2}}) {
    for (const bool swap : {false, true}) {
      Checkpoint checkpoint(shape, Dtype::float32, {.swap = swap});
      for (const Block& block : blocks(shape, cut)) checkpoint.add(block);
      const fs::path file = convert_index(checkpoint.index(), "large.pt");
      EXPECT_NO_THROW(verify(file));
      EXPECT_EQ(element_bytes(load(file).tensor("w")), element_bytes(checkpoint.whole()));
    }
  }
}

TEST(Pieces, ThatDifferFromTheirChecksumsAreNamed) {
  for (const bool whole : {true, false}) {
    Checkpoint checkpoint({4, 6}, Dtype::int32);
    for (const Block& block : blocks({4, 6}, {1, 2})) checkpoint.add(block);
    checkpoint.damage_last_piece();
    const auto use = [&] {
      if (whole) {
        load(checkpoint.index(), {.verify = true});
      } else {
        StateDict live;
        live.set("w", zeros({4, 6}, Dtype::int32));
        load_into(live, checkpoint.index(), {.verify = true});
      }
    };
    try {
      use();
      FAIL() << "the damage went unseen";
    } catch (const FormatError& error) {
      EXPECT_NE(std::string(error.what()).find("for \"w\""), std::string::npos) << error.what();
    }
  }
}

TEST(Pieces, ThatDoNotCoverTheirStorageAreRefused) {
  Checkpoint checkpoint({4, 6}, Dtype::int32);
  checkpoint.add(blocks({4, 6}, {1, 2}).front());
  StateDict live;
  live.set("w", zeros({4, 6}, Dtype::int32));
  EXPECT_THROW(load(checkpoint.index()), FormatError);
  EXPECT_THROW(load_into(live, checkpoint.index()), FormatError);
}

TEST(Pieces, ThatReachOutOfTheirStorageAreRefused) {
  Checkpoint checkpoint({4, 6}, Dtype::int32);
  for (const Block& block : blocks({4, 6}, {1, 2})) checkpoint.add(block);
  Index index = checkpoint.index();
  Box box = *index.pieces[1].box;
  box.target_origin += 4;
  index.pieces[1].box = std::make_shared<const Box>(box);
  EXPECT_THROW(load(index), FormatError);
}

TEST(Pieces, OfAStridedViewAreRefusedUnlessTransactional) {
  Checkpoint checkpoint({4, 6}, Dtype::int32);
  for (const Block& block : blocks({4, 6}, {1, 2})) checkpoint.add(block);
  Index index = checkpoint.index();
  const Storage meta = index.contents.storages()[0];
  index.contents = StateDict();
  index.contents.set("w", Tensor(meta, Dtype::int32, {4, 3}, {6, 2}));
  StateDict live;
  live.set("w", zeros({4, 3}, Dtype::int32));
  try {
    load_into(live, index);
    FAIL();
  } catch (const UnsupportedError& error) {
    EXPECT_NE(std::string(error.what()).find("\"w\""), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("transactional = true"), std::string::npos);
  }
  load_into(live, index, {.transactional = true});
  const auto* values = reinterpret_cast<const std::int32_t*>(live.tensor("w").data());
  EXPECT_EQ(std::vector(values, values + 12),
            (std::vector<std::int32_t>{1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23}));
}

// ---- composing ----

Piece piece_of(const Box& box, std::uint8_t itemsize) {
  return {0,
          0,
          numel(box) * itemsize,
          {0, 0, numel(box) * itemsize},
          Encoding::as_is,
          {},
          std::make_shared<const Box>(box),
          itemsize};
}

TEST(Composing, LeavesAColumnShardOneBox) {
  const Box shard{{1000, 50}, {50, 1}, {200, 1}, 0, 400};
  for (const Box& view :
       {Box{{1000, 200}, {200, 1}, {1, 1000}, 0, 0},    // to a transposed tensor
        Box{{200'000}, {1}, {1}, 0, 0},                 // to one in the same order
        Box{{1000, 200}, {200, 1}, {300, 1}, 0, 0}}) {  // to a part of a larger one
    const auto boxes = compose(piece_of(shard, 4), view, 4, 4);
    ASSERT_TRUE(boxes);
    EXPECT_EQ(boxes->size(), 1u);
  }
}

TEST(Composing, CutsARunIntoAtMostTwoPerDimensionAndOne) {
  const Box view{{5, 6, 7}, {42, 7, 1}, {1, 5, 30}, 0, 0};
  for (std::int64_t begin = 0; begin < 210; ++begin) {
    for (std::int64_t end = begin + 1; end <= 210; ++end) {
      const auto n = static_cast<std::uint64_t>(end - begin);
      const auto boxes = compose({0, static_cast<std::uint64_t>(begin), n, {0, 0, n}}, view, 1, 1);
      ASSERT_TRUE(boxes);
      ASSERT_LE(boxes->size(), 5u);
      std::vector<int> filled(210);
      for (const Box& box : *boxes) {
        for_each_run(box, 0, numel(box),
                     [&](std::int64_t from, std::int64_t to, std::int64_t count) {
                       const std::size_t last = box.shape.size() - 1;
                       for (std::int64_t i = 0; i < count; ++i) {
                         const bool any = !box.shape.empty();
                         const auto source = static_cast<std::int64_t>(box.source_origin) + from +
                                             (any ? i * box.source_stride[last] : 0);
                         const auto target = static_cast<std::int64_t>(box.target_origin) + to +
                                             (any ? i * box.target_stride[last] : 0);
                         const std::int64_t e = begin + source;
                         EXPECT_EQ(target, e / 42 + e / 7 % 6 * 5 + e % 7 * 30);
                         ++filled[static_cast<std::size_t>(target)];
                       }
                     });
      }
      EXPECT_EQ(std::ranges::count(filled, 1), end - begin);
    }
  }
}

// Pieces of any strides, which lie across the view's rows and partly outside of it, against one element at a time.
TEST(Composing, SendsEachElementWhereTheViewHasIt) {
  std::mt19937 random(5);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  for (int round = 0; round < 20'000; ++round) {
    const Dims shape{1 + below(4), 1 + below(4), 1 + below(5)};
    const std::int64_t count = shape[0] * shape[1] * shape[2], before = below(4);
    const Box view{shape,
                   {shape[1] * shape[2], shape[2], 1},
                   {1, 7, 100},
                   static_cast<std::uint64_t>(before) * 2,
                   40};
    const Box box{{1 + below(4), 1 + below(4), 1 + below(6)},
                  {30, 6, 1},
                  {1 + below(20), 1 + below(6), 1 + below(2)},
                  0,
                  static_cast<std::uint64_t>(below(8)) * 2};
    std::map<std::int64_t, std::int64_t> expected, found;  // piece to target, in bytes
    for_each_run(box, 0, numel(box), [&](std::int64_t from, std::int64_t to, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t e = static_cast<std::int64_t>(box.target_origin) / 2 + to +
                               i * box.target_stride[2] - before;
        if (e < 0 || e >= count) continue;
        const std::int64_t row = e / shape[2];
        expected[2 * (from + i)] =
            40 + 2 * (row / shape[1] + row % shape[1] * 7 + e % shape[2] * 100);
      }
    });
    const auto boxes = compose(piece_of(box, 2), view, 2, 2);
    ASSERT_TRUE(boxes);
    for (const Box& one : *boxes) {
      const bool any = !one.shape.empty();
      const std::size_t last = one.shape.size() - 1;
      for_each_run(one, 0, numel(one), [&](std::int64_t from, std::int64_t to, std::int64_t n) {
        for (std::int64_t i = 0; i < n; ++i) {
          const std::int64_t source = from + (any ? i * one.source_stride[last] : 0);
          const std::int64_t target = to + (any ? i * one.target_stride[last] : 0);
          ASSERT_TRUE(found
                          .emplace(static_cast<std::int64_t>(one.source_origin) + 2 * source,
                                   static_cast<std::int64_t>(one.target_origin) + 2 * target)
                          .second);
        }
      });
    }
    ASSERT_EQ(found, expected) << shape.str() << " " << box.shape.str() << " "
                               << box.target_stride.str();
  }
}

TEST(Composing, RefusesElementsThatAreTornApart) {
  EXPECT_FALSE(compose({0, 2, 8, {0, 0, 8}}, Box{{10}, {1}, {1}, 0, 0}, 4, 4));
  EXPECT_FALSE(compose({0, 0, 6, {0, 0, 6}}, Box{{10}, {1}, {1}, 0, 0}, 4, 4));
}

}  // namespace
}  // namespace transload
