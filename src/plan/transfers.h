// Cutting what is to be copied into transfers, one staging slot long at most.
#pragma once

#include <cstdint>
#include <vector>

#include "transload/options.h"

namespace transload {

// Cuts `whole`, from its first byte to its last, into transfers. They may be cast and swapped, but not rearranged.
void add_in_order(Plan& plan, const Transfer& whole);

// The same into a file that is written past the page cache: the first transfer is shorter, so that the others begin
// with a page of the file.
void add_paged(Plan& plan, const Transfer& whole);

// In which order the elements of a box are cut into ranges.
enum class BoxOrder : std::uint8_t {
  source,       // a range is a stretch of the source, whatever lies between its elements
  source_host,  // the same where nothing has to be read between the elements: in host memory
  target,       // a range is a stretch of the target without gaps
};

// Elements that are rearranged. The places of `whole` are those that the box's origins count from.
void add_boxed(Plan& plan, const Transfer& whole, Steps steps, BoxOrder order);

// Adds steps to the plan: their number, for Transfer::steps.
std::uint32_t add_steps(Plan& plan, Steps steps);

// Sorts the transfers, and fills in what follows from them. `index`: of the files read; null if there are none.
void finish(Plan& plan, const Index* index, const IoOptions& io);

}  // namespace transload
