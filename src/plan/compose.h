// A storage that lies in several pieces, and a view of it: from where in each piece to where in the target.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "transload/index.h"

namespace transload {

// A view is a box from a storage to a target. It can be composed with pieces if its elements lie in the storage without
// gaps, each once, in whatever order the target has them.
bool can_be_composed(const Box& view);

// The boxes, from the piece's first byte to the view's target, that together copy every element of the view which lies
// in the piece. The itemsizes are those of the view's elements. A block of a tensor is one box if the view is the whole tensor,
// transposed or not; a run of elements that begins and ends anywhere is one box for each dimension that it enters and
// leaves, at most 2 * ndim - 1. Returns nothing if an element would be torn apart, or too many boxes be needed.
std::optional<std::vector<Box>> compose(const Piece& piece, const Box& view,
                                        std::uint64_t source_itemsize,
                                        std::uint64_t target_itemsize);

}  // namespace transload
