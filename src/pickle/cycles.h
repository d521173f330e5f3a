// Values that hold themselves, which the writer must not follow around forever.
//
// A list or dict goes into the pickle's memo before its items are written, so that an item that mentions it reads it from there.
// A tuple, a set in protocol 2, or the arguments of an object are written before the value that is made of them.
#pragma once

#include "values/node_table.h"

namespace transload {

// Whether any value below the root holds itself.
bool has_cycle(const NodeTable& nodes);

// Whether a value holds itself by a way that no list or dict is on: protocol 2 cannot write it. Python's pickler fails too.
bool has_cycle_without_container(const NodeTable& nodes);

}  // namespace transload
