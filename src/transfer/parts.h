// Pieces cut into parts of one staging slot, which several threads work off in their order.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "transload/transload.h"

namespace transload {

struct Part {
  std::uint32_t piece;
  std::uint64_t offset, nbytes;  // in the piece, decoded
};

// What a thread does with a part: returns the CRC-32 of its bytes. `ahead` is one that will come soon; null near the end.
using PartFunction = std::function<std::uint32_t(const Part& part, const Part* ahead)>;

// Calls make_work() on each thread, then what it gave for part after part of these pieces. Returns the pieces' CRC-32s.
std::vector<std::uint32_t> for_each_part(std::span<const Piece> all, std::span<const std::uint32_t> pieces,
                                         const IoOptions& io,
                                         const std::function<PartFunction()>& make_work);

}  // namespace transload
