// Modules that were pickled whole, and their state dicts. This is the one rule for what the tensors of a module are called:
// names, selections, filling and converting follow it through the walk, and none of them needs the module's class.
//
// A module is an object whose state is a dict with the dicts _parameters, _buffers and _modules, as torch.nn.Module has them.
// Its state dict is that of Module.state_dict(): "layer.0.weight", parameters before buffers before the modules within, without
// non-persistent buffers, None, or what is not a tensor; its tensors are detached. What a hook of the class would change, its
// extra state and its version are not in the file.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "values/node_table.h"

namespace transload {

// What a module holds: names and values. A name is a node of a text.
struct ModuleParts {
  std::vector<std::pair<NodeId, NodeId>> tensors, modules;
};

// Returns nothing if the object is not a module.
using PartsOfModule = std::function<std::optional<ModuleParts>(NodeId object)>;

// As torch.nn.Module pickles.
std::optional<ModuleParts> parts_of_torch_module(const NodeTable& nodes, NodeId object);

// Gives a state dict to each module below the root that is not only a part of other modules. One whose modules hold each other
// in a circle, or whose names would take far more memory than the file, gets none and stays an object like any other.
void add_state_dicts(NodeTable& nodes, const PartsOfModule& parts_of);
void add_state_dicts(NodeTable& nodes);  // of torch.nn.Module

// The state dict of a module that has one; else the node itself.
NodeId state_dict_or_self(const NodeTable& nodes, NodeId node);

}  // namespace transload
