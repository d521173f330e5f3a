#include "plan/box.h"

#include <numeric>

namespace transload {

Box make_box(const Tensor& source, const Tensor& target) {
  std::vector<std::size_t> order;
  for (std::size_t d = 0; d < source.shape().size(); ++d) {
    if (source.shape()[d] != 1) order.push_back(d);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return source.stride()[a] > source.stride()[b];
  });
  std::vector<std::int64_t> shape, from, to;
  for (const std::size_t d : order) {
    const std::int64_t size = source.shape()[d], s = source.stride()[d], t = target.stride()[d];
    if (!shape.empty() && from.back() == size * s && to.back() == size * t) {
      shape.back() *= size;
      from.back() = s;
      to.back() = t;
    } else {
      shape.push_back(size);
      from.push_back(s);
      to.push_back(t);
    }
  }
  return {shape, from, to,
          static_cast<std::uint64_t>(source.storage_offset()) * itemsize(source.dtype()),
          static_cast<std::uint64_t>(target.storage_offset()) * itemsize(target.dtype())};
}

bool is_dense(const Box& box) {
  return box.shape.empty() ||
         (box.shape.size() == 1 &&
          (box.shape[0] <= 1 || (box.source_stride[0] == 1 && box.target_stride[0] == 1)));
}

std::uint64_t numel(const Box& box) {
  return std::accumulate(
      box.shape.begin(), box.shape.end(), std::uint64_t{1},
      [](std::uint64_t n, std::int64_t size) { return n * static_cast<std::uint64_t>(size); });
}

std::vector<BoxRange> split(const Box& box, std::uint64_t source_itemsize,
                            std::uint64_t target_itemsize, std::uint64_t max_nbytes) {
  const std::uint64_t total = numel(box);
  if (total == 0) return {};
  // The inner dimensions that fit as a whole, then as many steps of the next one as fit beside them.
  std::uint64_t inner = 1, inner_span = source_itemsize;  // elements, source bytes that they span
  std::size_t d = box.shape.size();
  while (d > 0) {
    const auto size = static_cast<std::uint64_t>(box.shape[d - 1]);
    const auto step = static_cast<std::uint64_t>(box.source_stride[d - 1]) * source_itemsize;
    const std::uint64_t span = (size - 1) * step + inner_span;
    if (span > max_nbytes || inner * size * target_itemsize > max_nbytes) break;
    inner *= size;
    inner_span = span;
    --d;
  }
  std::uint64_t steps = 1, step = 0, size = 1;
  if (d > 0) {
    size = static_cast<std::uint64_t>(box.shape[d - 1]);
    step = static_cast<std::uint64_t>(box.source_stride[d - 1]) * source_itemsize;
    const std::uint64_t by_span = step ? (max_nbytes - inner_span) / step + 1 : size;
    steps = std::clamp<std::uint64_t>(std::min(by_span, max_nbytes / (inner * target_itemsize)), 1,
                                      size);
  }
  std::vector<BoxRange> ranges;
  const std::uint64_t outer = total / (inner * size);
  ranges.reserve(outer * ((size + steps - 1) / steps));
  for (std::uint64_t o = 0; o < outer; ++o) {
    std::uint64_t offset = box.source_origin, rest = o;
    for (std::size_t e = d > 0 ? d - 1 : 0; e-- > 0;) {
      const auto n = static_cast<std::uint64_t>(box.shape[e]);
      offset += rest % n * static_cast<std::uint64_t>(box.source_stride[e]) * source_itemsize;
      rest /= n;
    }
    for (std::uint64_t k = 0; k < size; k += steps) {
      const std::uint64_t here = std::min(steps, size - k);
      ranges.push_back({(o * size + k) * inner, here * inner, offset + k * step,
                        (here - 1) * step + inner_span});
    }
  }
  return ranges;
}

}  // namespace transload
