// A closed pickle machine: protocols 2 to 5, plain values only. It imports nothing and calls nothing: names of
// classes and functions stay names, and what was called with what goes to a PickleObjects, which makes values.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "values/node_table.h"

namespace transload {

// What a format makes of the parts of a pickle that are not plain. All may throw FormatError.
class PickleObjects {
 public:
  virtual ~PickleObjects() = default;
  virtual NodeId global(std::string_view module, std::string_view name) = 0;
  virtual NodeId persistent(NodeId id) = 0;
  virtual NodeId call(NodeId callable, NodeId arguments, Made made) = 0;
  virtual void build(NodeId target, NodeId state) = 0;
};

struct ReadPickle {
  NodeId root;
  std::size_t nbytes;  // up to and with STOP; what follows is not looked at
};

// Reads one pickle. `where` begins the messages: "model.pt: data.pkl". Throws FormatError with the offset.
ReadPickle read_pickle(std::span<const std::byte> bytes, NodeTable& nodes, PickleObjects& objects,
                       const std::string& where);

}  // namespace transload
