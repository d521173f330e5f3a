// Boxes: elements that are rearranged on their way, cut into ranges that fit a staging slot.
//
// The order of a box's dimensions is the order in which its elements are numbered, and so in which ranges of it are cut.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "transload/plan.h"

namespace transload {

// The box from one view to another of the same shape, its dimensions merged where both allow it. Origins in bytes
// from the start of the storages.
Box make_box(const Tensor& source, const Tensor& target);

// Whether the elements lie one behind the other on both sides.
bool is_dense(const Box& box);

std::uint64_t numel(const Box& box);

// The same elements, numbered in the order that walks the source, or the target, forwards. Dimensions that both sides
// allow to be one are merged.
Box in_source_order(const Box& box);
Box in_target_order(const Box& box);

// The box with its sides exchanged. The order of the dimensions stays.
Box flipped(const Box& box);

// Bytes from the first to the last element of the source side, both included.
std::uint64_t source_span(const Box& box, std::uint64_t source_itemsize);

// A range that split() has cut, as a box of its own.
Box part_of(const Box& box, std::uint64_t first, std::uint64_t numel, std::uint64_t source_itemsize,
            std::uint64_t target_itemsize);

// A box by way of a buffer that holds its elements without gaps, in the order that walks the source forwards: `gather`
// copies from the source to the buffer in the longest runs there are, `rest` from the buffer to the target.
struct ByBuffer {
  Box gather, rest;
};
ByBuffer by_source_buffer(const Box& box);

// Elements [first, first + numel) of a box, and the source bytes that they lie in, from the start of the storage.
struct BoxRange {
  std::uint64_t first, numel;
  std::uint64_t source_offset, source_nbytes;
};

// All of a box in ranges whose source bytes span at most max_nbytes each, and whose elements, at `target_itemsize`
// each, take at most that much too.
std::vector<BoxRange> split(const Box& box, std::uint64_t source_itemsize,
                            std::uint64_t target_itemsize, std::uint64_t max_nbytes);

// Calls run(source, target, count) for each run of a range along the last dimension: source and target count elements
// from the origins. Successive elements of a run are source_stride and target_stride of the last dimension apart.
template <class Run>
void for_each_run(const Box& box, std::uint64_t first, std::uint64_t count, const Run& run) {
  const std::size_t n = box.shape.size();
  if (n == 0) {
    if (count) run(std::int64_t{0}, std::int64_t{0}, std::int64_t{1});
    return;
  }
  std::vector<std::int64_t> at(n);
  std::int64_t source = 0, target = 0;
  for (std::size_t d = n; d-- > 0;) {
    const auto size = static_cast<std::uint64_t>(box.shape[d]);
    at[d] = static_cast<std::int64_t>(first % size);
    first /= size;
    source += at[d] * box.source_stride[d];
    target += at[d] * box.target_stride[d];
  }
  auto left = static_cast<std::int64_t>(count);
  while (left > 0) {
    const std::int64_t here = std::min(left, box.shape[n - 1] - at[n - 1]);
    run(source, target, here);
    left -= here;
    source += here * box.source_stride[n - 1];
    target += here * box.target_stride[n - 1];
    at[n - 1] += here;
    for (std::size_t d = n - 1; d > 0 && at[d] == box.shape[d]; --d) {
      source += box.source_stride[d - 1] - at[d] * box.source_stride[d];
      target += box.target_stride[d - 1] - at[d] * box.target_stride[d];
      at[d] = 0;
      ++at[d - 1];
    }
  }
}

}  // namespace transload
