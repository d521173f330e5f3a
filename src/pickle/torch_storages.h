// The storages that a pickle of PyTorch mentions by persistent ids.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "transload/index.h"
#include "types/flat_index.h"
#include "values/node_table.h"

namespace transload {

// What the persistent ids of a container are: torch/serialization.py, persistent_id.
enum class PersistentIds : std::uint8_t {
  zip,          // ("storage", class, key, location, numel)
  torchscript,  // the same, or with None behind
  // With (view key, offset, size) or None behind, always: the storage is a part of another one, whose key and numel these
  // are. Or ("module", class, file, source), which stands for the class.
  stream,
};

// A storage as a tensor sees it: all of one in the file, or a part.
struct StorageView {
  std::uint64_t offset = 0;  // in elements
  std::uint64_t nbytes;
};

// Notes the storages in the order of their first mention: index.storages[i] is the i-th of the first pickle. Those of another
// pickle that is read into the same index follow; its keys are its own.
class TorchStorages {
 public:
  TorchStorages(NodeTable& nodes, Index& index, PersistentIds ids);

  // Throws FormatError if `id` is not one of those, or if it contradicts an earlier mention of the key.
  NodeId persistent(NodeId id);

  // Of a node that persistent() returned.
  StorageView view_of(NodeId storage) const;
  // When the root is known. Throws, beginning with `where`, FormatError if one key is that of a storage and of a part of one; UnsupportedError if a
  // part is a value of its own below the root: only tensors over it can be kept.
  void check_views(const std::string& where) const;

 private:
  struct View {
    NodeId node;
    std::uint32_t root;
    std::uint64_t offset, numel;
  };

  std::uint32_t add(std::span<const NodeId> id);
  NodeId view(std::span<const NodeId> id, std::uint32_t root);
  Dtype dtype_of_class(NodeId storage_class, std::string_view key);
  std::uint32_t number_of(std::string_view key);
  std::uint32_t location_number(NodeId location);

  NodeTable& nodes_;
  Index& index_;
  const PersistentIds ids_;
  const std::size_t first_;  // of this pickle's storages, in index_.storages
  // The keys of PyTorch's storages are 0, 1, 2, ...: as long as they come in that order, no index over them is needed.
  bool keys_are_numbers_ = true;
  FlatIndex<std::uint32_t> numbers_;  // of index_.storages, by key; filled once they are not
  std::map<std::string, View, std::less<>> views_;
  std::map<NodeId, std::uint64_t> view_offsets_;
  std::map<std::string, std::uint32_t> location_numbers_;
  // Of the last storage: most are of the same class and location.
  NodeId last_class_ = kNoNode, last_location_ = kNoNode;
  Dtype last_dtype_ = Dtype::uint8;
  std::uint32_t last_location_number_ = 0;
};

}  // namespace transload
