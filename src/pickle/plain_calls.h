// Plain values that a pickle spells as calls: an OrderedDict, a torch.Size, a set in protocol 2.
#pragma once

#include <span>

#include "pickle/globals.h"
#include "values/node_table.h"

namespace transload {

// Returns the value that the call makes, or kNoNode if `constructor` makes none from such arguments. Throws FormatError if the
// arguments are wrong. The arguments may not lie in `nodes`.
NodeId make_plain_value(NodeTable& nodes, Constructor constructor,
                        std::span<const NodeId> arguments);

}  // namespace transload
