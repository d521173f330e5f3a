// The tensors inside of an inert object that stands for one: quantized, sparse, nested, of a class derived from Tensor.
#pragma once

#include <set>
#include <span>

#include "pickle/globals.h"
#include "pickle/torch_tensors.h"
#include "values/node_table.h"

namespace transload {

class TensorParts {
 public:
  TensorParts(NodeTable& nodes, TorchTensors& tensors) : nodes_(nodes), tensors_(tensors) {}

  // Returns a dict of the tensors by what is added to the object's name ("", "#scales", "/attribute"), or kNoNode if a call of
  // `constructor` makes an object without tensors. `function` is the constructor that the first argument names. The arguments
  // may not lie in the table.
  NodeId parts_of(Constructor constructor, std::span<const NodeId> arguments, Constructor function);

 private:
  NodeId parts_of_quantized(std::span<const NodeId> arguments);
  NodeId parts_of_sparse(std::span<const NodeId> arguments);
  NodeId parts_of_nested(std::span<const NodeId> arguments);
  NodeId parts_of_subclass(std::span<const NodeId> arguments, Constructor function);
  bool is(NodeId node, ValueKind kind) const { return nodes_.kind(node) == kind; }
  void add(NodeId parts, std::string_view suffix, NodeId part);

  NodeTable& nodes_;
  TorchTensors& tensors_;
  std::set<NodeId>
      states_;  // of tensors of derived classes whose attributes were added: each once, or it costs squared time
};

}  // namespace transload
