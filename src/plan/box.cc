#include "plan/box.h"

#include <limits>
#include <numeric>

namespace transload {

namespace {

struct Dimension {
  std::int64_t size, source, target;  // strides in elements
};

std::vector<Dimension> dimensions(const Box& box) {
  std::vector<Dimension> dims;
  for (std::size_t d = 0; d < box.shape.size(); ++d)
    dims.push_back({box.shape[d], box.source_stride[d], box.target_stride[d]});
  return dims;
}

// Merges neighbors that follow on each other without a gap on both sides.
Box merged(const std::vector<Dimension>& dims, std::uint64_t source_origin,
           std::uint64_t target_origin) {
  std::vector<std::int64_t> shape, from, to;
  for (const Dimension& dim : dims) {
    if (dim.size == 1) continue;
    if (!shape.empty() && from.back() == dim.size * dim.source &&
        to.back() == dim.size * dim.target) {
      shape.back() *= dim.size;
      from.back() = dim.source;
      to.back() = dim.target;
    } else {
      shape.push_back(dim.size);
      from.push_back(dim.source);
      to.push_back(dim.target);
    }
  }
  return {shape, from, to, source_origin, target_origin};
}

Box sorted(const Box& box, std::int64_t Dimension::*stride) {
  std::vector<Dimension> dims = dimensions(box);
  std::stable_sort(dims.begin(), dims.end(),
                   [&](const Dimension& a, const Dimension& b) { return a.*stride > b.*stride; });
  return merged(dims, box.source_origin, box.target_origin);
}

}  // namespace

Box make_box(const Tensor& source, const Tensor& target) {
  return in_source_order(
      {source.shape(), source.stride(), target.stride(),
       static_cast<std::uint64_t>(source.storage_offset()) * itemsize(source.dtype()),
       static_cast<std::uint64_t>(target.storage_offset()) * itemsize(target.dtype())});
}

Box in_source_order(const Box& box) { return sorted(box, &Dimension::source); }

Box in_target_order(const Box& box) { return sorted(box, &Dimension::target); }

Box flipped(const Box& box) {
  return {box.shape, box.target_stride, box.source_stride, box.target_origin, box.source_origin};
}

std::uint64_t source_span(const Box& box, std::uint64_t source_itemsize) {
  std::uint64_t last = 0;
  for (std::size_t d = 0; d < box.shape.size(); ++d)
    last += static_cast<std::uint64_t>((box.shape[d] - 1) * box.source_stride[d]);
  return (last + 1) * source_itemsize;
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

Box part_of(const Box& box, std::uint64_t first, std::uint64_t numel, std::uint64_t source_itemsize,
            std::uint64_t target_itemsize) {
  // Whole inner dimensions, then steps of one, at fixed places of those outside.
  std::size_t d = box.shape.size();
  std::uint64_t inner = 1;
  while (d > 0) {
    const std::uint64_t with = inner * static_cast<std::uint64_t>(box.shape[d - 1]);
    if (with > numel || first % with != 0) break;
    inner = with;
    --d;
  }
  std::vector<Dimension> dims;
  if (numel > inner)
    dims.push_back({static_cast<std::int64_t>(numel / inner), box.source_stride[d - 1],
                    box.target_stride[d - 1]});
  for (std::size_t e = d; e < box.shape.size(); ++e)
    dims.push_back({box.shape[e], box.source_stride[e], box.target_stride[e]});
  std::int64_t source = 0, target = 0;
  std::uint64_t rest = first / inner;
  for (std::size_t e = d; e-- > 0;) {
    const auto size = static_cast<std::uint64_t>(box.shape[e]);
    const auto at = static_cast<std::int64_t>(rest % size);
    source += at * box.source_stride[e];
    target += at * box.target_stride[e];
    rest /= size;
  }
  return merged(dims, box.source_origin + static_cast<std::uint64_t>(source) * source_itemsize,
                box.target_origin + static_cast<std::uint64_t>(target) * target_itemsize);
}

ByBuffer by_source_buffer(const Box& box) {
  // Repeated elements, of stride 0, are gathered again for each of their places: outermost, so that the runs stay long.
  std::vector<std::size_t> order(box.shape.size());
  std::iota(order.begin(), order.end(), 0);
  const auto rank = [&](std::size_t d) {
    const std::int64_t stride = box.source_stride[d];
    return stride == 0 ? std::numeric_limits<std::int64_t>::max() : stride;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return rank(a) > rank(b); });
  std::vector<Dimension> gathered(box.shape.size()), rest = dimensions(box);
  std::int64_t packed = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    const std::size_t d = order[i];
    gathered[i] = {box.shape[d], box.source_stride[d], packed};
    rest[d].source = packed;
    packed *= box.shape[d];
  }
  return {merged(gathered, box.source_origin, 0), merged(rest, 0, box.target_origin)};
}

}  // namespace transload
