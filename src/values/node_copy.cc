#include "values/node_copy.h"

#include <string>

namespace transload {

NodeId NodeCopy::operator()(NodeId root) {
  // First a node for each one that is reached, then their contents: a value that holds itself needs
  // no care.
  std::vector<NodeId> order, todo{root};
  while (!todo.empty()) {
    const NodeId node = todo.back();
    todo.pop_back();
    if (node == kNoNode || copies_.contains(node)) continue;
    copies_[node] = without_contents(node);
    order.push_back(node);
    const auto below = from_.below(node);
    todo.insert(todo.end(), below.begin(), below.end());
    todo.push_back(from_.attributes(node));
  }
  for (const NodeId node : order) fill(node);
  return copies_.at(root);
}

NodeId NodeCopy::without_contents(NodeId node) {
  const ValueKind kind = from_.kind(node);
  switch (kind) {
    case ValueKind::none:
      return to_.none();
    case ValueKind::boolean:
      return to_.boolean(from_.as_boolean(node));
    case ValueKind::integer:
      return to_.integer(from_.as_integer(node));
    case ValueKind::real:
      return to_.real(from_.as_real(node));
    case ValueKind::dtype:
      return to_.dtype(from_.as_dtype(node));
    case ValueKind::object:
      return to_.object(kNoNode, kNoNode, from_.made(node));
    case ValueKind::storage:
      return to_.storage(storage_numbers_[from_.storage_number(node)], from_.as_dtype(node),
                         from_.storage_numel(node));
    case ValueKind::tensor: {
      TensorRow row = from_.row(node);
      if (row.storage != TensorRow::kNoStorage) row.storage = storage_numbers_[row.storage];
      return to_.tensor(row, from_.shape(node), from_.stride(node));
    }
    default:
      return has_text(kind) ? to_.add_text(kind, from_.as_text(node)) : to_.container(kind);
  }
}

void NodeCopy::fill(NodeId node) {
  const NodeId copy = copies_.at(node);
  const ValueKind kind = from_.kind(node);
  std::vector<NodeId> parts;
  for (const NodeId part : from_.below(node))
    parts.push_back(part == kNoNode ? kNoNode : copies_.at(part));
  if (is_dict(kind)) {
    for (std::size_t i = 0; i < parts.size(); i += 2) to_.set(copy, parts[i], parts[i + 1]);
  } else if (kind == ValueKind::object) {
    to_.set_object_items(copy, parts);
  } else if (!parts.empty()) {
    to_.append(copy, parts);
  }
  if (const NodeId attributes = from_.attributes(node); attributes != kNoNode)
    to_.set_attributes(copy, copies_.at(attributes));
}

}  // namespace transload
