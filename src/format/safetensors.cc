// safetensors: a flat list of named tensors, and nothing else.
//
//   0      8 bytes   N, the header's length, little-endian
//   8      N bytes   JSON: {"__metadata__": {…}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
//   8 + N            the tensors' bytes, little-endian and row-major, one after the other without gaps
//
// Each tensor is a storage of its own. Tensors that were one when they were saved are recorded in the metadata, and
// are one again when read. Worked example and sources: docs/formats/safetensors.md.
#include <algorithm>
#include <map>
#include <tuple>

#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "format/format.h"
#include "format/safetensors_header.h"
#include "types/checked.h"
#include "values/node_table.h"

namespace transload {
namespace {

constexpr std::uint64_t kLengthNbytes = kSafetensorsLengthNbytes;
// safetensors/src/tensor.rs, MAX_HEADER_SIZE.
constexpr std::uint64_t kMaxHeaderNbytes = 100'000'000;
constexpr std::uint64_t kMaxRuns = 65'536;  // of a tensor that is not contiguous; ours
// Metadata of ours: {"alias": "the name it is saved under"}.
constexpr const char* kTied = "transload.tied";

using Entry = SafetensorsHeader::Entry;

std::uint64_t header_nbytes(std::span<const std::byte> head) {
  std::uint64_t nbytes = 0;
  for (std::size_t i = kLengthNbytes; i-- > 0;)
    nbytes = nbytes << 8 | std::to_integer<std::uint64_t>(head[i]);
  return nbytes;
}

// A length that no text begins with, then JSON. That the length is right is for read() to say.
bool recognizes(const Probe& probe) {
  if (probe.head.size() <= kLengthNbytes || header_nbytes(probe.head) >> 40 != 0) return false;
  const auto blank = [](std::byte b) {
    return b == std::byte{' '} || b == std::byte{'\n'} || b == std::byte{'\t'};
  };
  const auto first = std::find_if_not(probe.head.begin() + kLengthNbytes, probe.head.end(), blank);
  return first != probe.head.end() && *first == std::byte{'{'};
}

std::string read_header(const File& file) {
  const std::string path = file.name;
  if (file.nbytes() < kLengthNbytes)
    throw FormatError(path + ": " + std::to_string(file.nbytes()) +
                      " bytes; a safetensors file has 8 at least");
  const std::string length = read_text(file, 0, kLengthNbytes);
  const std::uint64_t nbytes = header_nbytes(std::as_bytes(std::span(length)));
  if (nbytes > kMaxHeaderNbytes) {
    throw FormatError(path + ": offset 0: a header of " + std::to_string(nbytes) +
                      " bytes, at most " + std::to_string(kMaxHeaderNbytes) + " are allowed");
  }
  if (nbytes > file.nbytes() - kLengthNbytes) {
    throw FormatError(path + ": offset 0: a header of " + std::to_string(nbytes) +
                      " bytes, the file has " + std::to_string(file.nbytes() - kLengthNbytes) +
                      " left: cut short, copy it again");
  }
  return read_text(file, kLengthNbytes, nbytes);
}

// Every byte of the file belongs to one tensor: no holes, no overlaps, nothing behind the last.
void check_tiling(const SafetensorsHeader& header, std::uint64_t data_offset, const File& file) {
  std::vector<std::uint32_t> order(header.entries.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto range = [&](std::uint32_t i) {
    return std::pair(header.entries[i].begin, header.entries[i].end);
  };
  if (!std::ranges::is_sorted(order, {}, range)) std::ranges::sort(order, {}, range);
  const auto fail = [&](std::uint64_t at, const std::string& what) {
    throw FormatError(file.name + ": offset " + std::to_string(data_offset + at) + ": " +
                      what);
  };
  std::uint64_t end = 0;
  const Entry* before = nullptr;
  for (const std::uint32_t i : order) {
    const Entry& entry = header.entries[i];
    const std::string name = "\"" + std::string(entry.name) + "\"";
    if (entry.begin > end)
      fail(end,
           std::to_string(entry.begin - end) + " bytes that belong to no tensor, before " + name);
    if (entry.begin < end)
      fail(entry.begin, name + " begins inside of \"" + std::string(before->name) + "\"");
    end = entry.end;
    before = &entry;
  }
  const std::uint64_t there = file.nbytes() - data_offset;
  if (end > there) {
    const std::uint64_t whole = data_offset + end;
    fail(there, "the file ends here, after " + std::to_string(file.nbytes()) + " bytes of " +
                    std::to_string(whole) + ": " +
                    std::to_string(percent_missing(file.nbytes(), whole)) +
                    " % are missing, up to the end of \"" + std::string(before->name) +
                    "\". Copy it again");
  }
  if (end < there)
    fail(end, std::to_string(there - end) + " bytes that belong to no tensor, at the end");
}

// Names that stand for a tensor saved under another name.
void restore_tied(NodeTable& nodes, Index& index, const std::string& path) {
  const auto text = index.metadata.find(kTied);
  if (text == index.metadata.end()) return;
  rapidjson::Document tied;
  tied.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(
      text->second.data(), text->second.size());
  const auto fail = [&](const std::string& what) {
    throw FormatError(path + ": metadata \"" + kTied + "\": " + what);
  };
  if (tied.HasParseError() || !tied.IsObject())
    fail("an object of names expected, found " + text->second.substr(0, 100));
  for (const auto& [alias, saved] : tied.GetObject()) {
    const std::string_view name(alias.GetString(), alias.GetStringLength());
    if (!saved.IsString())
      fail("\"" + std::string(name) + "\" is tied to something that is no name");
    const std::string_view other(saved.GetString(), saved.GetStringLength());
    const NodeId tensor = nodes.find(nodes.root, other);
    if (tensor == kNoNode)
      fail("\"" + std::string(name) + "\" is tied to \"" + std::string(other) +
           "\", which is not in the file");
    if (nodes.find(nodes.root, name) != kNoNode)
      fail("\"" + std::string(name) + "\" is in the file itself");
    nodes.set(nodes.root, nodes.text(name), tensor);
  }
  index.metadata.erase(text);
}

Index read(const std::filesystem::path& path, const OpenOptions&) {
  Index index;
  index.format = "safetensors";
  index.files.push_back(open_file(path));
  index.locations.push_back("cpu");
  const File& file = index.files[0];
  std::string text = read_header(file);
  const std::uint64_t data_offset = kLengthNbytes + text.size();
  SafetensorsHeader header = parse_safetensors_header(text, path.string());
  check_tiling(header, data_offset, file);

  const std::size_t count = header.entries.size();
  const auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::dict);
  index.storages.reserve(count);
  index.pieces.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Entry& entry = header.entries[i];
    const std::uint64_t nbytes = entry.end - entry.begin;
    TensorRow row;
    row.storage = i;
    row.dtype = entry.dtype;
    const auto shape = header.shape(entry);
    nodes->set(nodes->root, nodes->text(entry.name),
               nodes->tensor(row, shape, contiguous_strides(shape)));
    if (nodes->entries(nodes->root).size() !=
        2 * (std::size_t{i} + 1))  // an equal name was replaced
      throw FormatError(path.string() + ": offset 8: the header has tensor \"" +
                        std::string(entry.name) + "\" twice");
    index.storages.push_back({nbytes, 0, 1, entry.dtype, std::string(entry.name)});
    if (nbytes > 0)
      index.pieces.push_back(
          {i, 0, nbytes, {0, data_offset + entry.begin, nbytes}});
  }
  index.metadata = std::move(header.metadata);
  restore_tied(*nodes, index, path.string());
  index.contents = StateDict(nodes, meta_storages(index));
  return index;
}

// ---- writing ----

// A tensor to be written, and what it says of itself.
struct Item {
  std::string_view name;
  NodeId node;
};

// Where dtypes stand in the file: safetensors/src/tensor.rs, Dtype, from its end, so that alignment falls.
std::size_t rank(Dtype dtype) {
  constexpr Dtype kOrder[] = {
      Dtype::uint64,          Dtype::int64,          Dtype::float64,
      Dtype::complex64,       Dtype::float32,        Dtype::uint32,
      Dtype::int32,           Dtype::bfloat16,       Dtype::float16,
      Dtype::uint16,          Dtype::int16,          Dtype::float8_e5m2fnuz,
      Dtype::float8_e4m3fnuz, Dtype::float8_e8m0fnu, Dtype::float8_e4m3fn,
      Dtype::float8_e5m2,     Dtype::int8,           Dtype::uint8,
      Dtype::float6_e3m2,     Dtype::float6_e2m3,    Dtype::float4_e2m1fn_x2,
      Dtype::boolean};
  return static_cast<std::size_t>(std::ranges::find(kOrder, dtype) - std::begin(kOrder));
}

class SafetensorsLayout {
 public:
  SafetensorsLayout(const StateDict& state, std::span<const std::string> tags,
                    std::string_view file_name, const SaveOptions& options)
      : state_(state),
        nodes_(state.nodes()),
        tags_(tags),
        file_name_(file_name),
        options_(options) {}

  Layout lay_out() {
    collect();
    std::ranges::sort(items_, {}, [&](const Item& item) {
      return std::pair(rank(nodes_.row(item.node).dtype), item.name);
    });
    for (const Item& item : items_) add_entry(item);
    header_.metadata = options_.metadata;
    header_.metadata.emplace("format",
                             "pt");  // as transformers writes it, and asks for it when reading
    header_.metadata.erase(kTied);
    if (!tied_.empty()) header_.metadata[kTied] = tied_text();

    Layout layout;
    std::string text = write_safetensors_header(header_);
    if (text.size() - kLengthNbytes > kMaxHeaderNbytes) {
      throw UnsupportedError(file_name_ + ": " + std::to_string(header_.entries.size()) +
                             " tensors make a header of " + std::to_string(text.size()) +
                             " bytes, readers allow 100000000. Save it as torch_zip");
    }
    for (Piece& piece : pieces_) piece.extent.offset += text.size();
    std::ranges::sort(pieces_, {}, [](const Piece& piece) {
      return std::pair(piece.storage, piece.extent.offset);
    });
    layout.files.push_back({"", text.size() + end_});
    layout.contents = state_;
    layout.pieces = std::move(pieces_);
    layout.literals.push_back({0, 0, std::move(text)});
    return layout;
  }

 private:
  [[noreturn]] void refuse(std::string_view key, const std::string& what) const {
    throw UnsupportedError(file_name_ + ": \"" + std::string(key) + "\" " + what);
  }

  // The tensors of the root, each once: a second name for one goes to tied_.
  void collect() {
    const Value root = state_.root();
    if (!root.is_dict()) {
      throw UnsupportedError(file_name_ + ": the root is of type " +
                             std::string(name(root.kind())) +
                             "; safetensors holds a dict of tensors. Save it as torch_zip");
    }
    using View = std::tuple<std::uint32_t, Dtype, std::int64_t, std::vector<std::int64_t>>;
    std::map<View, std::string_view> first_names;
    for (std::size_t i = 0; i < root.size(); ++i) {
      const auto [key, value] = root.entry(i);
      if (!key.is(ValueKind::text))
        refuse(str(key, 100), "is a key of type " + std::string(name(key.kind())) +
                                  "; safetensors has texts only");
      check(key.text(), value);
      const TensorRow& row = nodes_.row(value.id());
      std::vector<std::int64_t> dims(nodes_.shape(value.id()).begin(),
                                     nodes_.shape(value.id()).end());
      dims.insert(dims.end(), nodes_.stride(value.id()).begin(), nodes_.stride(value.id()).end());
      const auto [first, is_new] = first_names.try_emplace(
          {row.storage, row.dtype, row.storage_offset, std::move(dims)}, key.text());
      if (is_new)
        items_.push_back({key.text(), value.id()});
      else
        tied_.emplace(key.text(), first->second);
    }
  }

  // Refuses, before anything is written, what the format cannot hold.
  void check(std::string_view key, const Value& value) const {
    if (key == "__metadata__") refuse(key, "is the format's own key; rename the tensor");
    if (!value.is(ValueKind::tensor)) {
      refuse(key, "is of type " + std::string(name(value.kind())) +
                      "; safetensors holds a flat dict of tensors. Save it as torch_zip, " +
                      "or only the part that holds tensors: `at` selects it");
    }
    const TensorRow& row = nodes_.row(value.id());
    if (row.storage == TensorRow::kNoStorage || tags_[row.storage].empty())
      refuse(key, "is on meta and has no bytes; load it on a device first");
    if (info(row.dtype).safetensors.empty())
      refuse(key, "is " + std::string(name(row.dtype)) +
                      ", which safetensors has not. Cast it, or save as torch_zip");
    if (row.conj || row.neg)
      refuse(key, std::string("is stored as its ") + (row.conj ? "conjugate" : "negative") +
                      ", which safetensors cannot say. Copy it first");
  }

  void add_entry(const Item& item) {
    const auto shape = nodes_.shape(item.node);
    const Dtype dtype = nodes_.row(item.node).dtype;
    const Tensor tensor = Value(state_, item.node).tensor();
    const std::uint64_t nbytes = tensor.nbytes();
    Entry entry{
        item.name, dtype,        static_cast<std::uint8_t>(shape.size()), header_.sizes.size(),
        end_,      end_ + nbytes};
    if (dtype == Dtype::float4_e2m1fn_x2 && shape.empty())
      refuse(item.name,
             "is one pair of float4 without a dimension, which safetensors has not; give it shape "
             "[1]");
    header_.sizes.insert(header_.sizes.end(), shape.begin(), shape.end());
    header_.entries.push_back(entry);
    if (nbytes > 0) add_pieces(item, tensor);
    end_ += nbytes;
  }

  // A contiguous tensor is one piece, any other one for each run of elements that lie side by side in its storage.
  void add_pieces(const Item& item, const Tensor& tensor) {
    const std::uint32_t storage = nodes_.row(item.node).storage;
    const std::uint64_t bits = info(tensor.dtype()).bits, size = itemsize(tensor.dtype());
    const std::uint64_t origin = static_cast<std::uint64_t>(tensor.storage_offset()) * bits / 8;
    const auto add = [&](std::uint64_t byte_offset, std::uint64_t at, std::uint64_t nbytes) {
      pieces_.push_back(
          {storage, byte_offset, nbytes, {0, end_ + at, nbytes}});
    };
    if (tensor.is_contiguous()) return add(origin, 0, tensor.nbytes());

    auto dims = merged_dims(tensor);
    std::uint64_t run_nbytes = size;
    if (dims.back().stride == 1) {
      run_nbytes *= dims.back().size;
      dims.pop_back();
    }
    const std::uint64_t runs = tensor.nbytes() / run_nbytes;
    if (bits < 8 || runs > kMaxRuns) {
      refuse(item.name, "of shape " + tensor.shape().str() + " and strides " +
                            tensor.stride().str() +
                            " lies scattered in its storage. Make it contiguous first");
    }
    for (std::uint64_t i = 0; i < runs; ++i) {
      std::uint64_t offset = 0, rest = i;
      for (std::size_t d = dims.size(); d-- > 0; rest /= dims[d].size)
        offset += rest % dims[d].size * dims[d].stride;
      add(origin + offset * size, i * run_nbytes, run_nbytes);
    }
  }

  struct Dimension {
    std::uint64_t size, stride;
  };

  // Dimensions of more than one element, outermost first; those that follow on each other without a gap as one.
  static std::vector<Dimension> merged_dims(const Tensor& tensor) {
    std::vector<Dimension> dims;
    for (std::size_t d = 0; d < tensor.shape().size(); ++d) {
      const auto size = static_cast<std::uint64_t>(tensor.shape()[d]),
                 stride = static_cast<std::uint64_t>(tensor.stride()[d]);
      if (size == 1) continue;
      if (!dims.empty() && dims.back().stride == size * stride)
        dims.back() = {dims.back().size * size, stride};
      else
        dims.push_back({size, stride});
    }
    return dims;
  }

  std::string tied_text() const {
    rapidjson::StringBuffer buffer;
    rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
    writer.StartObject();
    for (const auto& [alias, saved] : tied_) {
      writer.Key(alias.data(), static_cast<rapidjson::SizeType>(alias.size()));
      writer.String(saved.data(), static_cast<rapidjson::SizeType>(saved.size()));
    }
    writer.EndObject();
    return {buffer.GetString(), buffer.GetSize()};
  }

  const StateDict& state_;
  const NodeTable& nodes_;
  std::span<const std::string> tags_;
  const std::string file_name_;
  const SaveOptions& options_;
  std::vector<Item> items_;
  std::map<std::string_view, std::string_view> tied_;  // alias to the name it is saved under
  SafetensorsHeader header_;
  std::vector<Piece> pieces_;  // extents count from the end of the header until that is written
  std::uint64_t end_ = 0;      // of the tensors so far, as extents count
};

Layout lay_out(const StateDict& state, std::span<const std::string> tags, std::string_view name,
               const SaveOptions& options) {
  return SafetensorsLayout(state, tags, name, options).lay_out();
}

}  // namespace

const Format kSafetensors{"safetensors", recognizes, read, lay_out, nullptr};

}  // namespace transload
