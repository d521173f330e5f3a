// What the names in a pickle of PyTorch mean to the reader: tensors, storages, parameters, and plain values that a pickle
// spells as calls. All else is kept as inert objects or refused, as the table of globals.h says.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "pickle/globals.h"
#include "pickle/reader.h"
#include "pickle/tensor_parts.h"
#include "pickle/torch_storages.h"
#include "pickle/torch_tensors.h"
#include "transload/options.h"

namespace transload {

// Makes the values of one pickle.
class TorchObjects : public PickleObjects {
 public:
  // Storages and their locations go to `index`. All arguments must outlive it; `where` begins the messages of
  // UnsafePickleError: "model.pt: data.pkl".
  TorchObjects(NodeTable& nodes, Index& index, const OpenOptions& options, const std::string& where,
               PersistentIds ids = PersistentIds::zip)
      : nodes_(nodes),
        options_(options),
        where_(where),
        storages_(nodes, index, ids),
        tensors_(nodes, index, storages_),
        parts_(nodes, tensors_) {}

  NodeId global(std::string_view module, std::string_view name) override;
  NodeId persistent(NodeId id) override { return storages_.persistent(id); }
  NodeId call(NodeId callable, NodeId arguments, Made made) override;
  void build(NodeId target, NodeId state) override;
  // When nodes.root is set. Throws as TorchStorages::check_views().
  void check_views() const { storages_.check_views(where_); }

 private:
  bool set_old_state(NodeId target, NodeId state);
  Constructor constructor_of_node(NodeId callable);
  bool is(NodeId node, ValueKind kind) const { return nodes_.kind(node) == kind; }
  // A copy of the arguments: the table grows while a value is made of them.
  std::vector<NodeId> copy_of(NodeId tuple) const {
    return {nodes_.items(tuple).begin(), nodes_.items(tuple).end()};
  }
  NodeId make_parameter_with_state(std::span<const NodeId> arguments);
  NodeId make_from_type(std::span<const NodeId> arguments);
  NodeId inert(NodeId callable, NodeId arguments, Made made);
  // Throw UnsafePickleError as the options say.
  void refuse_call(NodeId callable, NodeId arguments, Made made) const;
  void refuse_objects(NodeId callable) const;

  NodeTable& nodes_;
  const OpenOptions& options_;
  const std::string& where_;
  TorchStorages storages_;
  TorchTensors tensors_;
  TensorParts parts_;
  // Parameters and Variables as PyTorch pickled them before 0.4: their state follows.
  std::unordered_set<NodeId> expecting_state_;
  // By the node of the name: a pickle stores each name once and mentions it again.
  std::unordered_map<NodeId, Constructor> constructors_;
};

}  // namespace transload
