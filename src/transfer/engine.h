// The engine: carries out a plan's transfers. It knows no format and no rule.
#pragma once

#include <span>
#include <vector>

#include "transload/transload.h"

namespace transload {

// Memory for each of the plan's targets, in its order: allocated, mapped, or what already lives. A failure frees it
// all.
std::vector<Storage> allocate_targets(const Plan& plan, const Index& index,
                                      const AllocateFunction& allocate_one = {});

// How far each transfer came, by number: what a load_into that fails has to tell.
enum class Reached : std::uint8_t { untouched, begun, done };

// Reads every transfer's bytes to where they are to live: straight into host memory, through staging to a device, reads
// and device copies at the same time. Returns when all is there. On failure it waits for what is under way, then throws.
void run_load(const Plan& plan, const Index& index, std::span<const Storage> targets,
              const IoOptions& io, std::vector<Reached>* reached = nullptr);

// The same of a load, whose transfers cover each piece, with the checksums of the file compared on the way.
void run_verified_load(const Plan& plan, const Index& index, std::span<const Storage> targets,
                       const IoOptions& io);

// The caller's stream on a device, as the options name it; 0: none.
std::uintptr_t stream_of(const IoOptions& io, Device device);

}  // namespace transload
