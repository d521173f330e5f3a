// Of an Index's pieces, what both the plan and the transfers have to know.
#pragma once

#include <cstdint>
#include <vector>

#include "transload/plan.h"

namespace transload {

// The piece of each storage; kNoPiece where it has no bytes. UnsupportedError for a storage that lies in several.
inline constexpr std::uint32_t kNoPiece = 0xFFFFFFFF;
std::vector<std::uint32_t> pieces_by_storage(const Index& index);

// Whether its bytes are in the file as they are to be in memory.
bool goes_straight(const Transfer& transfer, const Index& index);

// The length of a slot, for a budget of staging memory.
std::uint64_t slot_nbytes(std::uint64_t staging_nbytes);

}  // namespace transload
