#include "transfer/steps.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "plan/box.h"
#include "types/scalar.h"

namespace transload {
namespace {

// A block of elements that stays in the cache between the steps.
constexpr std::uint64_t kBlock = 1024;
constexpr std::uint64_t kMaxItemsize = 16;

template <class Unit>
void copy_strided(const std::byte* source, std::int64_t source_stride, std::byte* target,
                  std::int64_t target_stride, std::uint64_t count) {
  constexpr auto size = static_cast<std::int64_t>(sizeof(Unit));
  for (std::uint64_t i = 0; i < count; ++i) {
    std::memcpy(target, source, sizeof(Unit));
    source += source_stride * size;
    target += target_stride * size;
  }
}

struct Sixteen {
  std::uint64_t low, high;
};

void copy_elements(std::uint64_t itemsize, const std::byte* source, std::int64_t source_stride,
                   std::byte* target, std::int64_t target_stride, std::uint64_t count) {
  if (source_stride == 1 && target_stride == 1) {
    std::memcpy(target, source, count * itemsize);
    return;
  }
  switch (itemsize) {
    case 1:
      return copy_strided<std::uint8_t>(source, source_stride, target, target_stride, count);
    case 2:
      return copy_strided<std::uint16_t>(source, source_stride, target, target_stride, count);
    case 4:
      return copy_strided<std::uint32_t>(source, source_stride, target, target_stride, count);
    case 8:
      return copy_strided<std::uint64_t>(source, source_stride, target, target_stride, count);
    default:
      return copy_strided<Sixteen>(source, source_stride, target, target_stride, count);
  }
}

void swap_units(std::byte* bytes, std::uint64_t nbytes, std::uint8_t unit) {
  for (std::uint64_t at = 0; at + unit <= nbytes; at += unit)
    std::reverse(bytes + at, bytes + at + unit);
}

// The sign bit is the top bit of the last byte of each component: conj flips every second one, neg all.
void flip_signs(std::byte* bytes, std::uint64_t nbytes, Dtype dtype, bool conj, bool neg) {
  const bool is_complex = info(dtype).kind == DtypeKind::complex;
  const std::uint64_t component = is_complex ? itemsize(dtype) / 2 : itemsize(dtype);
  for (std::uint64_t at = component, i = 0; at <= nbytes; at += component, ++i) {
    const bool imaginary = is_complex && i % 2 == 1;
    if (neg != (conj && imaginary)) bytes[at - 1] ^= std::byte{0x80};
  }
}

}  // namespace

void convert(const Steps& steps, const std::byte* source, std::int64_t source_stride,
             std::byte* target, std::int64_t target_stride, std::uint64_t count) {
  const std::uint64_t from_size = itemsize(steps.from), to_size = itemsize(steps.to);
  const bool in_place = steps.swap_nbytes > 1 || steps.conj || steps.neg;
  if (!in_place && steps.from == steps.to) {
    return copy_elements(from_size, source, source_stride, target, target_stride, count);
  }
  std::array<std::byte, kBlock * kMaxItemsize> gathered, cast;
  for (std::uint64_t done = 0; done < count; done += kBlock) {
    const std::uint64_t here = std::min(kBlock, count - done);
    const std::byte* elements = source;
    if (in_place || source_stride != 1) {
      copy_elements(from_size, source, source_stride, gathered.data(), 1, here);
      if (steps.swap_nbytes > 1) swap_units(gathered.data(), here * from_size, steps.swap_nbytes);
      if (steps.conj || steps.neg)
        flip_signs(gathered.data(), here * from_size, steps.from, steps.conj, steps.neg);
      elements = gathered.data();
    }
    if (steps.from == steps.to) {
      copy_elements(to_size, elements, 1, target, target_stride, here);
    } else if (target_stride == 1) {
      cast_elements(steps.from, elements, steps.to, target, here);
    } else {
      cast_elements(steps.from, elements, steps.to, cast.data(), here);
      copy_elements(to_size, cast.data(), 1, target, target_stride, here);
    }
    source += static_cast<std::int64_t>(here * from_size) * source_stride;
    target += static_cast<std::int64_t>(here * to_size) * target_stride;
  }
}

namespace {

// Calls run(source, source stride, target, target stride, count) for each run of elements of a box.
template <class Run>
void for_each_converted_run(const Steps& steps, const Box& box, const std::byte* source,
                            std::byte* target, const Run& run) {
  const std::uint64_t from_size = itemsize(steps.from), to_size = itemsize(steps.to);
  const std::size_t n = box.shape.size();
  const std::int64_t source_step = n ? box.source_stride[n - 1] : 1,
                     target_step = n ? box.target_stride[n - 1] : 1;
  for_each_run(box, 0, numel(box), [&](std::int64_t from, std::int64_t to, std::int64_t count) {
    run(source + (box.source_origin + static_cast<std::uint64_t>(from) * from_size), source_step,
        target + (box.target_origin + static_cast<std::uint64_t>(to) * to_size), target_step,
        static_cast<std::uint64_t>(count));
  });
}

}  // namespace

void convert_box(const Steps& steps, const Box& box, const std::byte* source, std::byte* target) {
  for_each_converted_run(
      steps, box, source, target,
      [&](const std::byte* from, std::int64_t source_step, std::byte* to, std::int64_t target_step,
          std::uint64_t count) { convert(steps, from, source_step, to, target_step, count); });
}

void convert_box(const Steps& steps, const Box& box, const std::byte* source, std::byte* target,
                 CopyStream& stream, std::span<std::byte> staging) {
  const std::uint64_t to_size = itemsize(steps.to);
  for_each_converted_run(
      steps, box, source, target,
      [&](const std::byte* from, std::int64_t source_step, std::byte* to, std::int64_t target_step,
          std::uint64_t count) {
        convert(steps, from, source_step, staging.data(), 1, count);
        // What is dense on the device is one copy; else each element is.
        const std::uint64_t copies = target_step == 1 ? 1 : count, each = count / copies * to_size;
        for (std::uint64_t c = 0; c < copies; ++c) {
          stream.to_device(to + static_cast<std::int64_t>(c * to_size) * target_step,
                           staging.first(each));
          staging = staging.subspan(each);
        }
      });
}

}  // namespace transload
