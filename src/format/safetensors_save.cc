// Laying out a safetensors file: see safetensors.cc for the format.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "format/safetensors.h"
#include "plan/box.h"
#include "transload/error.h"
#include "types/quotes.h"
#include "values/modules.h"
#include "values/node_table.h"

namespace transload::safetensors {
namespace {

using Entry = SafetensorsHeader::Entry;

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
  SafetensorsLayout(const StateDict& state, const LayoutOptions& options)
      : state_(state), nodes_(state.nodes()), file_name_(options.name), options_(options) {}

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
    if (text.size() - kSafetensorsLengthNbytes > kMaxHeaderNbytes) {
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
    layout.left_out = std::move(left_out_);
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
    note_left_out();
  }

  // What the tensors have besides elements, and the file does not.
  void note_left_out() {
    bool has_parameters = false, has_attributes = false, has_views = false;
    std::set<std::uint32_t> storages;
    for (const Item& item : items_) {
      const TensorRow& row = nodes_.row(item.node);
      has_parameters = has_parameters || row.is_parameter || row.requires_grad;
      has_attributes = has_attributes || nodes_.attributes(item.node) != kNoNode;
      has_views = !storages.insert(row.storage).second || has_views;
    }
    if (has_parameters) left_out_.push_back("which tensors are Parameters or require gradients");
    if (has_attributes) left_out_.push_back("attributes of tensors");
    if (has_views) left_out_.push_back("which tensors are views of the same storage");
  }

  [[noreturn]] void refuse_value(std::string_view key, const Value& value) const {
    if (state_dict_or_self(nodes_, value.id()) != value.id()) {
      refuse(key, "is a module; safetensors holds a flat dict of tensors. `at` = " +
                      in_quotes(key) + " selects its state dict");
    }
    bool has_parts = false;  // that hold tensors themselves
    for (std::size_t i = 0; i < state_.size() && !has_parts; ++i) {
      const Value part = state_.root().entry(i).second;
      has_parts =
          !part.is(ValueKind::tensor) && !part.is(ValueKind::object) && !part.tensors().empty();
    }
    refuse(key, "is of type " + std::string(name(value.kind())) +
                    "; safetensors holds a flat dict of tensors. " +
                    (has_parts ? "`at` selects the part that is one"
                               : "`values` drop leaves out what is not a tensor") +
                    ", and `format` torch_zip holds everything");
  }

  // Refuses, before anything is written, what the format cannot hold.
  void check(std::string_view key, const Value& value) const {
    if (key == "__metadata__") refuse(key, "is the format's own key; rename the tensor");
    if (!value.is(ValueKind::tensor)) refuse_value(key, value);
    const TensorRow& row = nodes_.row(value.id());
    if (row.storage == TensorRow::kNoStorage || options_.locations[row.storage].empty())
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
    if (nbytes > 0) add_piece(item, tensor);
    end_ += nbytes;
  }

  // A tensor is one piece. If it is not contiguous in its storage, a box says where its elements lie there.
  void add_piece(const Item& item, const Tensor& tensor) {
    const std::uint64_t bits = info(tensor.dtype()).bits;
    Piece piece{nodes_.row(item.node).storage, 0, tensor.nbytes(), {0, end_, tensor.nbytes()}};
    if (tensor.is_contiguous()) {
      piece.byte_offset = static_cast<std::uint64_t>(tensor.storage_offset()) * bits / 8;
    } else {
      if (bits < 8) {
        refuse(item.name, "has elements of less than a byte and strides " + tensor.stride().str() +
                              ", which cannot be rearranged; make it contiguous first");
      }
      const Tensor in_file(Storage(kMeta, nullptr, tensor.nbytes(), nullptr), tensor.dtype(),
                           tensor.shape(), contiguous_strides(tensor.shape()));
      piece.box = std::make_shared<const Box>(make_box(tensor, in_file));
      piece.itemsize = static_cast<std::uint8_t>(itemsize(tensor.dtype()));
    }
    pieces_.push_back(std::move(piece));
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
  const std::string file_name_;
  const LayoutOptions& options_;
  std::vector<Item> items_;
  std::map<std::string_view, std::string_view> tied_;  // alias to the name it is saved under
  SafetensorsHeader header_;
  std::vector<std::string> left_out_;
  std::vector<Piece> pieces_;  // extents count from the end of the header until that is written
  std::uint64_t end_ = 0;      // of the tensors so far, as extents count
};

}  // namespace

Layout lay_out(const StateDict& state, const LayoutOptions& options) {
  return SafetensorsLayout(state, options).lay_out();
}

}  // namespace transload::safetensors
