// LazyTensor: one tensor, or a part of it, of an open checkpoint.
#include "transload/lazy_tensor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <string>

#include "transload/error.h"
#include "transload/transload.h"

namespace transload {
namespace {

std::filesystem::path path_of(const char* name) {
  return std::filesystem::path(testing::TempDir()) / name;
}

std::vector<float> values(const Tensor& tensor) {
  const std::vector<std::byte> bytes = element_bytes(tensor);
  std::vector<float> result(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(result.data(), bytes.data(), bytes.size());
  return result;
}

Tensor counted(std::int64_t rows, std::int64_t columns) {
  std::vector<float> numbers(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  return from_values(numbers, {rows, columns});
}

// Counts the bytes that are read of another file.
class Counting final : public Source {
 public:
  explicit Counting(const File& file) : file_(file) {}
  std::uint64_t nbytes() const override { return file_.nbytes(); }
  void read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) const override {
    for (const auto part : parts) read_nbytes += part.size();
    file_.source->read(offset, parts);
  }
  mutable std::atomic<std::uint64_t> read_nbytes = 0;

 private:
  File file_;
};

TEST(LazyTensor, ReadsThePartThatIsAskedFor) {
  StateDict state;
  state.set("w", counted(1000, 1000));
  save(state, path_of("lazy.pt"));
  const auto source = std::make_shared<Counting>(open_file(path_of("lazy.pt")));
  const auto index = std::make_shared<const Index>(open(File{"counted", source}));
  const std::uint64_t headers = source->read_nbytes;
  EXPECT_LT(headers, 200'000u);  // of 4 MB
  const LazyTensor rows =
      LazyTensor(index, index->contents["w"]).slice({Slice{10, 12}, Slice{0, 3}});
  EXPECT_EQ(rows.meta().shape(), (Dims{2, 3}));
  EXPECT_EQ(source->read_nbytes, headers);
  EXPECT_EQ(values(rows.read()), (std::vector<float>{10000, 10001, 10002, 11000, 11001, 11002}));
  EXPECT_LT(source->read_nbytes - headers, 100'000u);
}

TEST(LazyTensor, DescribesWithoutReading) {
  StateDict state;
  const Tensor w = counted(2, 3);
  state.set("w", w);
  state.set("t", Tensor(w.storage(), Dtype::float32, {3, 2}, {1, 3}));
  save(state, path_of("described.pt"), {.locations = "cuda:1"});
  const auto index = std::make_shared<const Index>(open(path_of("described.pt")));
  const LazyTensor first(index, index->contents["w"]), second(index, index->contents["t"]);
  EXPECT_EQ(second.meta().stride(), (Dims{1, 3}));
  EXPECT_EQ(first.location(), "cuda:1");
  EXPECT_EQ(first.storage_number(), second.storage_number());
  EXPECT_EQ(values(second.read()), (std::vector<float>{0, 3, 1, 4, 2, 5}));
}

TEST(LazyTensor, FillsALiveTensorOfTheSameShape) {
  StateDict state;
  state.set("w", counted(2, 3));
  save(state, path_of("fill.safetensors"));
  const auto index = std::make_shared<const Index>(open(path_of("fill.safetensors")));
  const LazyTensor w(index, index->contents["w"]);
  const Tensor live = zeros({3}, Dtype::float64);
  w.slice({1}).read_into(live);
  EXPECT_EQ(str(live), "tensor([3., 4., 5.], dtype=torch.float64)");
  EXPECT_THROW(w.read_into(live), MismatchError);
}

TEST(LazyTensor, ThrowsWhenTheIndexIsGone) {
  StateDict state;
  state.set("w", counted(2, 3));
  save(state, path_of("gone.pt"));
  auto index = std::make_shared<const Index>(open(path_of("gone.pt")));
  const LazyTensor w(index, index->contents["w"]);
  EXPECT_EQ(values(w.read()).size(), 6u);
  index.reset();
  EXPECT_THROW(w.read(), Error);
}

TEST(LazyTensor, IsATensorOnly) {
  StateDict state;
  state.set("epoch", 3);
  save(state, path_of("epoch.pt"));
  const auto index = std::make_shared<const Index>(open(path_of("epoch.pt")));
  EXPECT_THROW(LazyTensor(index, index->contents["epoch"]), Error);
}

TEST(LazyTensor, AnIndexBelowAValueHasItsTensorsAlone) {
  StateDict part, state;
  const Tensor shared = counted(2, 3);
  part.set("a", shared);
  part.set("b", shared);
  state.set("other", counted(5, 5));
  state.set("part", part);
  save(state, path_of("below.pt"));
  const Index index = open(path_of("below.pt"));
  const Index below = index_below(index, index.contents["part"]);
  EXPECT_EQ(below.storages.size(), 1u);
  EXPECT_EQ(below.pieces.size(), 1u);
  const StateDict loaded = load(below);
  EXPECT_EQ(values(loaded.tensor("b")), values(shared));
  EXPECT_EQ(loaded.storages().size(), 1u);
}

TEST(OpenOfASource, ReadsAFileInMemory) {
  StateDict state;
  state.set("w", counted(2, 3));
  save(state, path_of("memory.pt"));
  const File on_disk = open_file(path_of("memory.pt"));
  std::string bytes(on_disk.nbytes(), '\0');
  const std::span<std::byte> room = std::as_writable_bytes(std::span(bytes));
  on_disk.source->read(0, {&room, 1});
  EXPECT_EQ(values(load(open(file_in_memory("m", bytes))).tensor("w")), values(counted(2, 3)));
  const File behind = file_in_memory("behind", "12345" + bytes);
  EXPECT_EQ(load(open(part_of(behind, 5, bytes.size(), "part"))).size(), 1u);
  EXPECT_THROW(open(file_in_memory("text", "no model at all")), FormatError);
}

}  // namespace
}  // namespace transload
