// Python's rules for the keys of a dict, over a table of nodes: what can be a key, when two keys
// are one, and a hash that agrees with that. Tuples are compared to kMaxKeyParts parts: shared
// parts could make 2^n of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "values/node_ids.h"

namespace transload {

class NodeTable;

inline constexpr int kMaxKeyParts = 64;

// Returns whether Python could hash the value: not a list, dict, set or bytearray, nor a tuple that
// holds one. False for a tuple of more than kMaxKeyParts parts.
bool is_hashable(const NodeTable& nodes, NodeId node);

// Returns whether equal_keys() compares the value as Python does. False for hashable values whose
// equality it does not implement: a frozenset of several items, a complex number that is real.
bool can_be_key(const NodeTable& nodes, NodeId node);

// Equal as Python compares keys: True == 1 == 1.0. Objects, tensors and storages equal only
// themselves.
bool equal_keys(const NodeTable& nodes, NodeId a, NodeId b);

// Equal for keys that are equal.
std::size_t hash_key(const NodeTable& nodes, NodeId key);
std::size_t hash_key(std::string_view text);
std::size_t hash_key(std::int64_t number);

// Bounds what looking up the keys of one table costs, and refuses the one pair of kinds that
// equal_keys() cannot compare.
class KeyWork {
 public:
  // Counts one use of a key. Throws FormatError once long keys were used so often that reading
  // their bytes would take hours, and if the keys include both an int of more than 64 bits and a
  // float that may equal one.
  void add(const NodeTable& nodes, NodeId key);

 private:
  std::uint64_t nbytes_ = 0;  // of long keys, each time they are used
  bool has_large_reals_ = false, has_big_integers_ = false;
};

}  // namespace transload
