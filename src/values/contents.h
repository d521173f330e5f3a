// What a StateDict and its Values share: the table of values and the storages under its tensors.
// Changed only by a StateDict that is its sole owner; any number of threads may read it otherwise.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "transload/tensor.h"
#include "values/node_table.h"

namespace transload {

struct StateContents {
  std::shared_ptr<NodeTable>
      nodes;  // shared with other contents that differ in their storages, as by over()
  std::vector<Storage> storages;
  std::unordered_map<const void*, std::uint32_t>
      numbers{};  // of storages, by identity, while set() adds to them
};

}  // namespace transload
