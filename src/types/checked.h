// Checked arithmetic for sizes and offsets that come from a file, and so may be wrong on purpose.
#pragma once

#include <cstdint>

namespace transload {

// Return the sum or the product. Throw FormatError that starts with `what`, the name of the
// quantity, if the result needs more than 64 bits.
std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, const char* what);
std::uint64_t checked_mul(std::uint64_t a, std::uint64_t b, const char* what);

// Rounds up to a multiple of `step`. Wraps on overflow: only for sizes that were checked before.
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t step) {
  return (value + step - 1) / step * step;
}

// Returns the percentage of `whole` bytes that are missing if `there` bytes are present; at least
// 1.
constexpr std::uint64_t percent_missing(std::uint64_t there, std::uint64_t whole) {
  const double part = static_cast<double>(whole - there) / static_cast<double>(whole);
  return part < 0.01 ? 1 : static_cast<std::uint64_t>(part * 100);
}

}  // namespace transload
