// What is done to elements between file and memory: byte order, conj and neg bits, cast, rearrangement.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "device/backend.h"
#include "transload/plan.h"

namespace transload {

// `count` elements of steps.from, source_stride apart, to as many of steps.to, target_stride apart. In host memory.
void convert(const Steps& steps, const std::byte* source, std::int64_t source_stride,
             std::byte* target, std::int64_t target_stride, std::uint64_t count);

// All elements of a box, in host memory, from and to where its origins count from. The box of `steps` is not looked at.
void convert_box(const Steps& steps, const Box& box, const std::byte* source, std::byte* target);
// The same to a device, by way of `staging`, which has to hold the elements and belongs to the stream until it is waited for.
void convert_box(const Steps& steps, const Box& box, const std::byte* source, std::byte* target,
                 CopyStream& stream, std::span<std::byte> staging);

}  // namespace transload
