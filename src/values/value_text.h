// Values as Python prints them, for errors and for people.
#pragma once

#include <span>
#include <string>

#include "transload/tensor.h"
#include "values/node_ids.h"

namespace transload {

class NodeTable;

// The same as str(Value). Without storages, tensors print no device.
std::string str(const NodeTable& nodes, std::span<const Storage> storages, NodeId node,
                std::size_t max_chars);

}  // namespace transload
