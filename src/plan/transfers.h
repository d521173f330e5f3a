// Cutting what is to be copied into transfers, one staging slot long at most.
#pragma once

#include <cstdint>
#include <vector>

#include "transload/transload.h"

namespace transload {

// Cuts `whole` into transfers that keep the order of its bytes; they may be cast and swapped.
void add_in_order(Plan& plan, const Transfer& whole);

// Elements of a box, whose origins count from the start of the storage that the piece is.
void add_boxed(Plan& plan, std::uint32_t piece, std::uint32_t target, Steps steps,
               std::uint32_t fills);

// In file order, and what the plan needs besides.
void finish(Plan& plan, const Index& index, const IoOptions& io);

// How many bytes of `allocated` an allocation takes.
std::uint64_t rounded(std::uint64_t nbytes, const MemoryUse& memory);

}  // namespace transload
