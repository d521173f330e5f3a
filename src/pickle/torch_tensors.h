// Tensors and parameters, made from the arguments of PyTorch's rebuild functions.
#pragma once

#include <span>
#include <string>

#include "pickle/globals.h"
#include "pickle/torch_storages.h"
#include "transload/index.h"
#include "transload/tensor.h"
#include "values/node_table.h"

namespace transload {

// A shape or stride, as a tuple or torch.Size of ints that are not negative. Throws FormatError that begins with `what`:
// "the tensor's shape".
Dims dims_of(const NodeTable& nodes, NodeId node, const std::string& what);

// Each throws FormatError if the arguments are not those of the function. The arguments may not lie in `nodes`.
class TorchTensors {
 public:
  TorchTensors(NodeTable& nodes, Index& index, const TorchStorages& storages)
      : nodes_(nodes), index_(index), storages_(storages) {}

  // tensor_v0: (storage, storage offset, shape, stride). tensor_v2 appends (requires_grad, hooks) and may append metadata;
  // tensor_v3 has the dtype before the metadata.
  NodeId make_tensor(std::span<const NodeId> arguments, Constructor function);
  // (dtype, shape, stride, requires_grad)
  NodeId make_meta_tensor(std::span<const NodeId> arguments);
  // (tensor): what autograd wrapped around it before PyTorch 0.4.
  NodeId make_variable(std::span<const NodeId> arguments);
  // (tensor, requires_grad, hooks). The tensor as it occurs elsewhere stays what it was.
  NodeId make_parameter(std::span<const NodeId> arguments);
  // Gives a tensor its attributes: a dict, or (a dict, slots).
  void set_state(NodeId tensor, NodeId state);
  void set_requires_grad(NodeId tensor, NodeId value) {
    nodes_.row(tensor).requires_grad = flag(value, "requires_grad");
  }

 private:
  bool flag(NodeId node, const char* what) const;
  void set_metadata(TensorRow& row, NodeId metadata) const;

  NodeTable& nodes_;
  Index& index_;
  const TorchStorages& storages_;
};

}  // namespace transload
