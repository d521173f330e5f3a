// The one rule for what a path "a/b/c" means. Value::at_path(), Selection::at and load_into() use
// it; it finds every name that the walk gives.
//
// Levels are joined by '/'. A part is a key of a dict (a text as it is, an int as its digits, other
// keys as Python prints them) or a position in a list or tuple. Keys may contain '/': the longest
// key that leads to a value wins. If a dict has an int key and a text key of the same digits, the
// text key wins.
#pragma once

#include <string>
#include <string_view>

#include "values/node_ids.h"

namespace transload {

class NodeTable;

// Returns the value at a path from `root`, or kNoNode. An empty path is the root itself, unless
// that has a key "".
NodeId find_path(const NodeTable& nodes, NodeId root, std::string_view path);

// Says that there is nothing at a path, how far it leads, the nearest part there, and which parts
// exist.
std::string missing_path(const NodeTable& nodes, NodeId root, std::string_view path);

// The same for one key of a dict: `no key "wieght"; did you mean "weight"?`
std::string missing_key(const NodeTable& nodes, NodeId dict, std::string_view key);

}  // namespace transload
