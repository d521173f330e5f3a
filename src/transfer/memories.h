// The memory of a plan: allocated, mapped, or what lives already.
#pragma once

#include <span>
#include <vector>

#include "transload/options.h"

namespace transload {

// Memory for each of Plan::memories. A failure frees it all. `index`: of the files that are mapped; null if none are.
std::vector<Storage> memories_of(const Plan& plan, const Index* index = nullptr,
                                 const AllocateFunction& allocate_one = {});

// Each storage of the Index over its place in those memories. One that is not loaded, or goes to meta, has no bytes.
std::vector<Storage> storages_in(const Plan& plan, std::span<const Storage> memories);

}  // namespace transload
