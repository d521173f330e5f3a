// The one walk over a state dict's places, with the one bound on them. tensors(), names, selections
// and the command line use it, so that they all agree on what a value is called.
//
// A name is the keys and positions from the root, joined by '/'. An object adds no level of its
// own: its state, its arguments and its items stand where it does. The tensor parts of an object
// add their suffix, as "weight#indices".
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "values/node_table.h"

namespace transload {

// Appends what a key adds to a name: a text as it is, other keys as Python prints them.
void append_key(std::string& path, const NodeTable& nodes, NodeId key);

// What an object holds at its own place: its state dict, if it is a module; else its tensor parts,
// or its state or arguments, and its list and dict items.
struct ObjectContents {
  std::array<NodeId, 3> nodes;
  std::size_t count = 0;
  bool has_tensor_parts = false;  // then they are the first
  std::span<const NodeId> span() const { return {nodes.data(), count}; }
};
ObjectContents contents_of(const NodeTable& nodes, NodeId object);

// Visits values one after another, each container before what it holds, without recursion:
//
//   Walk walk(nodes, root);
//   while (walk.next()) {
//     if (wanted(walk.node())) walk.enter();
//   }
//
// Shared containers can make 2^n places of n values. Past the bound, 100,000 places more than there
// are values and references, a container is entered only if it was not entered before.
class Walk {
 public:
  Walk(const NodeTable& nodes, NodeId root);

  // Moves to the next place, the root first. Returns false after the last one. Throws FormatError
  // if long keys of shared containers would make it copy more than 1 GiB of text plus 256 bytes for
  // each place.
  bool next();

  // Makes what this value holds come next; nothing if it is not a container. Returns false if a
  // container is not entered: it is around itself here, or the bound is passed.
  bool enter();

  NodeId node() const { return node_; }
  NodeId key() const { return key_; }  // of an entry of a dict; else kNoNode
  std::string_view path() const { return path_; }
  std::string_view part() const { return std::string_view(path_).substr(part_begin_); }
  std::size_t depth() const { return entered_.size(); }  // of the root 0

 private:
  enum class Holds : std::uint8_t { items, entries, suffixes, object_contents };
  struct Entered {
    NodeId container;
    Holds holds;
    std::size_t path_nbytes, levels;  // of its name
    std::size_t next = 0;             // of what it holds
  };

  Holds holds(NodeId container) const;
  std::size_t count(const Entered& entered) const;
  void move_to(Entered& entered);

  const NodeTable& nodes_;
  NodeId node_, key_ = kNoNode;
  std::string path_;
  std::size_t part_begin_ = 0, levels_ = 0;
  bool started_ = false;
  std::vector<Entered> entered_;
  std::vector<bool> is_around_, was_entered_;  // by node
  std::uint64_t places_ = 0, max_places_, copied_nbytes_ = 0;
};

}  // namespace transload
