// Names of tensors for errors. names_by_storage(), for all storages at once, is public:
// transload/state_dict.h.
#pragma once

#include <cstdint>
#include <string>

#include "transload/state_dict.h"

namespace transload {

// Returns the first tensor over a storage, as `"encoder.weight" (float32 [10, 10])`; empty if there
// is none.
std::string first_user(const StateDict& state, std::uint32_t storage);

}  // namespace transload
