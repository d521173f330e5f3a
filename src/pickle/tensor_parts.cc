// Facts: torch/_utils.py and torch/_tensor.py of PyTorch 2.13, Tensor._reduce_ex_internal.
#include "pickle/tensor_parts.h"

#include <string>
#include <vector>

namespace transload {
namespace {

// The names of a sparse tensor's parts, in the order of its arguments.
std::vector<std::string_view> parts_of_layout(std::string_view layout) {
  if (layout == "torch.sparse_coo") return {"#indices", "#values"};
  if (layout == "torch.sparse_csr" || layout == "torch.sparse_bsr")
    return {"#crow_indices", "#col_indices", "#values"};
  return {"#ccol_indices", "#row_indices", "#values"};
}

}  // namespace

void TensorParts::add(NodeId parts, std::string_view suffix, NodeId part) {
  nodes_.set(parts, nodes_.text(suffix), part);
}

// (storage, offset, shape, stride, (scheme, scales, zero points, axis), requires_grad, hooks)
NodeId TensorParts::parts_of_quantized(std::span<const NodeId> a) {
  if (a.size() < 6) return kNoNode;
  const NodeId tensor = tensors_.make_tensor(a.first(4), Constructor::tensor_v0);
  tensors_.set_requires_grad(tensor, a[5]);
  const NodeId parts = nodes_.container(ValueKind::dict);
  add(parts, "", tensor);
  if (!is(a[4], ValueKind::tuple) || nodes_.items(a[4]).size() != 4) return parts;
  const NodeId scales = nodes_.items(a[4])[1], zero_points = nodes_.items(a[4])[2];
  if (is(scales, ValueKind::tensor) && is(zero_points, ValueKind::tensor)) {
    add(parts, "#scales", scales);
    add(parts, "#zero_points", zero_points);
  }
  return parts;
}

// (layout, (indices, values, ...)), the layout made by _get_layout("torch.sparse_coo")
NodeId TensorParts::parts_of_sparse(std::span<const NodeId> a) {
  if (a.size() != 2 || !is(a[0], ValueKind::object) || !is(a[1], ValueKind::tuple)) return kNoNode;
  const auto names = nodes_.items(nodes_.items(a[0])[kArguments]);
  const bool is_named = names.size() == 1 && is(names[0], ValueKind::text);
  const auto suffixes = parts_of_layout(is_named ? nodes_.as_text(names[0]) : "");
  const std::vector<NodeId> items(nodes_.items(a[1]).begin(), nodes_.items(a[1]).end());
  const NodeId parts = nodes_.container(ValueKind::dict);
  for (std::size_t i = 0; i < std::min(items.size(), suffixes.size()); ++i)
    add(parts, suffixes[i], items[i]);
  return parts;
}

NodeId TensorParts::parts_of_nested(std::span<const NodeId> a) {
  if (a.size() != 4) return kNoNode;
  constexpr std::string_view kSuffixes[] = {"#values", "#sizes", "#strides", "#storage_offsets"};
  const NodeId parts = nodes_.container(ValueKind::dict);
  for (std::size_t i = 0; i < a.size(); ++i) add(parts, kSuffixes[i], a[i]);
  return parts;
}

// (function, class, arguments, state): the tensor that the function makes, and its attributes
NodeId TensorParts::parts_of_subclass(std::span<const NodeId> a, Constructor function) {
  if (a.size() != 4 || !is(a[2], ValueKind::tuple)) return kNoNode;
  const NodeId parts = nodes_.container(ValueKind::dict);
  if (function == Constructor::tensor_v2 || function == Constructor::tensor_v3) {
    const std::vector<NodeId> of(nodes_.items(a[2]).begin(), nodes_.items(a[2]).end());
    add(parts, "", tensors_.make_tensor(of, function));
  }
  if (!is(a[3], ValueKind::dict) || !states_.insert(a[3]).second) return parts;
  const std::vector<NodeId> state(nodes_.entries(a[3]).begin(), nodes_.entries(a[3]).end());
  for (std::size_t i = 0; i < state.size(); i += 2) {
    if (is(state[i], ValueKind::text))
      add(parts, "/" + std::string(nodes_.as_text(state[i])), state[i + 1]);
  }
  return parts;
}

NodeId TensorParts::parts_of(Constructor constructor, std::span<const NodeId> a,
                             Constructor function) {
  switch (constructor) {
    case Constructor::quantized:
      return parts_of_quantized(a);
    case Constructor::sparse:
      return parts_of_sparse(a);
    case Constructor::nested:
      return parts_of_nested(a);
    case Constructor::from_type:
      return parts_of_subclass(a, function);
    case Constructor::device_tensor: {  // (tensor, dtype, device, requires_grad), as of XLA
      if (a.size() != 4) return kNoNode;
      const NodeId parts = nodes_.container(ValueKind::dict);
      add(parts, "", a[0]);
      return parts;
    }
    default:
      return kNoNode;
  }
}

}  // namespace transload
