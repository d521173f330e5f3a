// Copies values from one table of nodes to another: how a selection or a nested StateDict gets into
// a new table.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "values/node_table.h"

namespace transload {

class NodeCopy {
 public:
  // Storage s of `from` has the number storage_numbers[s] in `to`. All three must outlive this.
  NodeCopy(const NodeTable& from, NodeTable& to, std::span<const std::uint32_t> storage_numbers)
      : from_(from), to_(to), storage_numbers_(storage_numbers) {}

  // Returns the copy of a value and of everything below it. What was copied by an earlier call is
  // the same node again, so what is shared, or holds itself, stays so.
  NodeId operator()(NodeId node);

 private:
  NodeId without_contents(NodeId node);
  void fill(NodeId node);

  const NodeTable& from_;
  NodeTable& to_;
  std::span<const std::uint32_t> storage_numbers_;
  std::unordered_map<NodeId, NodeId> copies_;
};

}  // namespace transload
