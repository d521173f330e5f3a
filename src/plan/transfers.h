// Cutting what is to be copied into transfers, one staging slot long at most.
#pragma once

#include <cstdint>
#include <vector>

#include "transload/transload.h"

namespace transload {

// The piece of each storage; kNoPiece where it has no bytes. UnsupportedError for a storage that lies in several.
inline constexpr std::uint32_t kNoPiece = 0xFFFFFFFF;
std::vector<std::uint32_t> pieces_by_storage(const Index& index);

// Whether its bytes are in the file as they are to be in memory.
bool goes_straight(const Transfer& transfer, const Index& index);

// The length of a slot, for a budget of staging memory.
std::uint64_t slot_nbytes(std::uint64_t staging_nbytes);

// Bytes [offset, offset + nbytes) of a piece, to target_offset on, cast and swapped as `steps` says but in their order.
void add_in_order(Plan& plan, const Transfer& whole);

// Elements of a box, whose origins count from the start of the storage that the piece is.
void add_boxed(Plan& plan, std::uint32_t piece, std::uint32_t target, Steps steps,
               std::uint32_t fills);

// In file order, and what the plan needs besides.
void finish(Plan& plan, const Index& index, const Engine& engine);

// How many bytes of `allocated` an allocation takes.
std::uint64_t rounded(std::uint64_t nbytes, const MemoryUse& memory);

}  // namespace transload
