// The storages that a pickle of PyTorch mentions by persistent ids.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "transload/index.h"
#include "types/flat_index.h"
#include "values/node_table.h"

namespace transload {

// Notes the storages in the order of their first mention: index.storages[i] is the i-th.
class TorchStorages {
 public:
  TorchStorages(NodeTable& nodes, Index& index) : nodes_(nodes), index_(index) {}

  // `id` is ("storage", storage class, key, location, numel): torch/serialization.py, persistent_id. Throws FormatError if
  // it is not, or if it contradicts an earlier mention of the key.
  NodeId persistent(NodeId id);

 private:
  Dtype dtype_of_class(NodeId storage_class, std::string_view key);
  std::uint32_t number_of(std::string_view key);
  std::uint32_t location_number(NodeId location);

  NodeTable& nodes_;
  Index& index_;
  // The keys of PyTorch's storages are 0, 1, 2, ...: as long as they come in that order, no index over them is needed.
  bool keys_are_numbers_ = true;
  FlatIndex<std::uint32_t> numbers_;  // of index_.storages, by key; filled once they are not
  std::map<std::string, std::uint32_t> location_numbers_;
  // Of the last storage: most are of the same class and location.
  NodeId last_class_ = kNoNode, last_location_ = kNoNode;
  Dtype last_dtype_ = Dtype::uint8;
  std::uint32_t last_location_number_ = 0;
};

}  // namespace transload
