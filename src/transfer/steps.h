// What is done to elements between file and memory: byte order, conj and neg bits, cast, rearrangement.
#pragma once

#include <cstddef>
#include <cstdint>

#include "transload/plan.h"

namespace transload {

// `count` elements of steps.from, source_stride apart, to as many of steps.to, target_stride apart. In host memory.
void convert(const Steps& steps, const std::byte* source, std::int64_t source_stride,
             std::byte* target, std::int64_t target_stride, std::uint64_t count);

}  // namespace transload
