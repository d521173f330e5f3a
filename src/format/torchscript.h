// TorchScript: torch.jit.save's zip file. It is a torch zip (torch_zip.cc) whose values are objects of classes below __torch__,
// with the source of those classes and the constants of their code beside it:
//
//   ROOT/data.pkl              the module: objects with their attributes as state
//   ROOT/data/KEY              the storages of its tensors
//   ROOT/constants.pkl         a tuple: the constants that code mentions as CONSTANTS.c0, CONSTANTS.c1, …
//   ROOT/constants/KEY         the storages of its tensors
//   ROOT/code/__torch__/a.py   the classes of module __torch__.a; each names its __parameters__ and __buffers__
//
// No code is run or compiled. Sources: torch/csrc/jit/serialization/export_module.cpp, python_print.cpp, pickler.cpp;
// docs/formats/torchscript.md.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "values/node_table.h"

namespace transload::torchscript {

// Returns the text of a member of the archive, by its name without the folder; nothing if there is none.
using ReadMember = std::function<std::optional<std::string>(const std::string& name)>;

// Gives the program the state dict that state_dict() returns in PyTorch: of each module the attributes that its class lists as
// parameters and buffers, or all tensors if the class is not in the archive. None if it would be empty.
void add_state_dict(NodeTable& nodes, const ReadMember& read_member);

// Gives the program a state dict of those constants that are tensors, as "CONSTANTS.c0": freezing turns all weights into
// constants. `constants`: what constants.pkl holds.
void add_state_dict_of_constants(NodeTable& nodes, NodeId constants);

}  // namespace transload::torchscript
