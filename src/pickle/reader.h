// Reads a pickle (protocols 0 to 5) into a NodeTable. It is a closed machine: it imports nothing and calls nothing. Names
// of classes and functions stay names; a PickleObjects decides what becomes of a name, a call or a persistent id.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "values/node_table.h"

namespace transload {

// What a format makes of the parts of a pickle that are not plain values. Each returns a node of the same table and may
// throw FormatError or UnsafePickleError.
class PickleObjects {
 public:
  virtual ~PickleObjects() = default;
  virtual NodeId global(std::string_view module, std::string_view name) = 0;
  virtual NodeId persistent(NodeId id) = 0;
  // `arguments` is a tuple; of Made::by_new_with_keywords, the tuple (arguments, keyword arguments).
  virtual NodeId call(NodeId callable, NodeId arguments, Made made) = 0;
  virtual void build(NodeId target, NodeId state) = 0;
};

struct ReadPickle {
  NodeId root;
  std::size_t nbytes;  // up to and including STOP; the bytes after it are not looked at
};

// Reads one pickle. Throws FormatError with `where` ("model.pt: data.pkl") and the offset of the opcode.
ReadPickle read_pickle(std::span<const std::byte> bytes, NodeTable& nodes, PickleObjects& objects,
                       const std::string& where);

}  // namespace transload
