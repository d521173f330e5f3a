// Facts: torch/_utils.py of PyTorch 2.13, _rebuild_tensor_v2 and its neighbors, _set_obj_state.
#include "pickle/torch_tensors.h"

#include <algorithm>
#include <array>

#include "transload/error.h"

namespace transload {

Dims dims_of(const NodeTable& nodes, NodeId node, const std::string& what) {
  constexpr std::size_t kMaxDimensions = 64;  // c10/core/TensorImpl.h; NumPy's limit too
  const ValueKind kind = nodes.kind(node);
  if (kind != ValueKind::tuple && kind != ValueKind::size)
    throw FormatError(what + " is not a tuple");
  const auto items = nodes.items(node);
  if (items.size() > kMaxDimensions) {
    throw FormatError(what + " has " + std::to_string(items.size()) + " dimensions, at most " +
                      std::to_string(kMaxDimensions) + " are possible");
  }
  std::array<std::int64_t, kMaxDimensions> values;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (nodes.kind(items[i]) != ValueKind::integer)
      throw FormatError(what + " has an item that is not an int");
    values[i] = nodes.as_integer(items[i]);
    if (values[i] < 0)
      throw FormatError(what + " has a negative item, " + std::to_string(values[i]));
  }
  return Dims(std::span<const std::int64_t>(values.data(), items.size()));
}

bool TorchTensors::flag(NodeId node, const char* what) const {
  if (nodes_.kind(node) != ValueKind::boolean)
    throw FormatError("the tensor's " + std::string(what) + " is not a bool");
  return nodes_.as_boolean(node);
}

void TorchTensors::set_metadata(TensorRow& row, NodeId metadata) const {
  if (nodes_.kind(metadata) == ValueKind::none) return;
  if (!is_dict(nodes_.kind(metadata))) throw FormatError("the tensor's metadata is not a dict");
  const auto bit = [&](const char* name) {
    const NodeId value = nodes_.find(metadata, std::string_view(name));
    return value != kNoNode && flag(value, name);
  };
  row.conj = bit("conj");
  row.neg = bit("neg");
}

NodeId TorchTensors::make_tensor(std::span<const NodeId> a, Constructor function) {
  const bool is_v0 = function == Constructor::tensor_v0, is_v3 = function == Constructor::tensor_v3;
  const std::size_t least = is_v0 ? 4 : is_v3 ? 7 : 6;
  if (a.size() < least || a.size() > least + (is_v0 ? 0 : 1)) {
    throw FormatError("the tensor is made from " + std::to_string(a.size()) +
                      " arguments, expected " + std::to_string(least) +
                      (is_v0 ? "" : " or " + std::to_string(least + 1)));
  }
  if (nodes_.kind(a[0]) != ValueKind::storage)
    throw FormatError("the tensor's first argument is not a storage");
  if (nodes_.kind(a[1]) != ValueKind::integer)
    throw FormatError("the tensor's storage offset is not an int");
  TensorRow row;
  row.storage = nodes_.storage_number(a[0]);
  row.dtype = nodes_.as_dtype(a[0]);
  row.storage_offset = nodes_.as_integer(a[1]);
  if (!is_v0) row.requires_grad = flag(a[4], "requires_grad");
  StoredStorage& storage = index_.storages[row.storage];
  if (is_v3) {
    if (nodes_.kind(a[6]) != ValueKind::dtype)
      throw FormatError("the tensor's dtype is not a torch.dtype");
    row.dtype = nodes_.as_dtype(a[6]);
    // Such a storage is saved as bytes; its byte order is that of the tensor's elements.
    storage.swap_nbytes = std::max(storage.swap_nbytes, info(row.dtype).swap_nbytes);
  }
  if (a.size() > least) set_metadata(row, a[least]);
  const StorageView view = storages_.view_of(a[0]);
  if (is_v3 && view.offset > 0)
    throw FormatError("the tensor's dtype is given, but its storage is a part of another one");
  const Dims shape = dims_of(nodes_, a[2], "the tensor's shape"),
             stride = dims_of(nodes_, a[3], "the tensor's stride");
  try {  // the constructor checks that the tensor lies within its storage
    Tensor(Storage(kMeta, nullptr, view.nbytes, nullptr), row.dtype, shape, stride,
           row.storage_offset);
  } catch (const Error& error) {
    throw FormatError(std::string(error.what()) + " (storage \"" + storage.key + "\")");
  }
  // Of a tensor without elements the offset may be anything: it stays what it is.
  if (view.offset > 0 && std::ranges::find(shape, 0) == shape.end())
    row.storage_offset += static_cast<std::int64_t>(view.offset);
  return nodes_.tensor(row, {shape.begin(), shape.size()}, {stride.begin(), stride.size()});
}

NodeId TorchTensors::make_meta_tensor(std::span<const NodeId> a) {
  if (a.size() != 4)
    throw FormatError("the meta tensor is made from " + std::to_string(a.size()) +
                      " arguments, expected 4");
  if (nodes_.kind(a[0]) != ValueKind::dtype)
    throw FormatError("the meta tensor's first argument is not a dtype");
  TensorRow row;
  row.dtype = nodes_.as_dtype(a[0]);
  row.requires_grad = flag(a[3], "requires_grad");
  const Dims shape = dims_of(nodes_, a[1], "the tensor's shape"),
             stride = dims_of(nodes_, a[2], "the tensor's stride");
  try {
    Tensor(Storage(kMeta, nullptr, ~std::uint64_t{0}, nullptr), row.dtype, shape, stride);
  } catch (const Error& error) {
    throw FormatError(error.what());
  }
  return nodes_.tensor(row, {shape.begin(), shape.size()}, {stride.begin(), stride.size()});
}

NodeId TorchTensors::make_variable(std::span<const NodeId> a) {
  if (a.empty() || nodes_.kind(a[0]) != ValueKind::tensor)
    throw FormatError("the Variable's first argument is not a tensor");
  const Dims shape(nodes_.shape(a[0])), stride(nodes_.stride(a[0]));
  const TensorRow row = nodes_.row(a[0]);
  return nodes_.tensor(row, {shape.begin(), shape.size()}, {stride.begin(), stride.size()});
}

NodeId TorchTensors::make_parameter(std::span<const NodeId> a) {
  if (a.empty() || nodes_.kind(a[0]) != ValueKind::tensor)
    throw FormatError("the Parameter's first argument is not a tensor");
  TensorRow row = nodes_.row(a[0]);
  row.is_parameter = true;
  row.requires_grad = a.size() < 2 || flag(a[1], "requires_grad");
  // Copies: the table of sizes grows.
  const Dims shape(nodes_.shape(a[0])), stride(nodes_.stride(a[0]));
  return nodes_.tensor(row, {shape.begin(), shape.size()}, {stride.begin(), stride.size()});
}

void TorchTensors::set_state(NodeId tensor, NodeId state) {
  if (nodes_.kind(state) == ValueKind::tuple && nodes_.items(state).size() == 2 &&
      nodes_.kind(nodes_.items(state)[1]) == ValueKind::none)
    state = nodes_.items(state)[0];
  const ValueKind kind = nodes_.kind(state);
  if (kind == ValueKind::none || (kind == ValueKind::tuple && nodes_.items(state).empty())) return;
  if (kind != ValueKind::dict)
    throw FormatError("the tensor's state is a value of type " + std::string(name(kind)) +
                      ", expected a dict of attributes");
  const auto entries = nodes_.entries(state);
  for (std::size_t i = 0; i < entries.size(); i += 2) {
    if (nodes_.kind(entries[i]) != ValueKind::text)
      throw FormatError("the tensor's state has a key that is not a str");
    // PyTorch sets each as an attribute: one that every Tensor has would replace its data.
    const std::string_view key = nodes_.as_text(entries[i]);
    constexpr std::string_view kOwn[] = {"data", "grad", "_grad", "requires_grad",
                                         "real", "imag", "names", "_backward_hooks"};
    if (key.starts_with("__") || std::ranges::find(kOwn, key) != std::end(kOwn))
      throw FormatError("the tensor's state has the attribute \"" + std::string(key) +
                        "\", which would replace a part of the tensor");
  }
  if (entries.empty()) return;
  // The attributes are those of this moment: the dict may get others later.
  const std::vector<NodeId> now(entries.begin(), entries.end());
  const NodeId own = nodes_.container(ValueKind::dict);
  for (std::size_t i = 0; i < now.size(); i += 2) nodes_.set(own, now[i], now[i + 1]);
  nodes_.set_attributes(tensor, own);
}

}  // namespace transload
