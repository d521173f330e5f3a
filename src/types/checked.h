// Arithmetic on sizes that a file claims: no overflow goes unseen.
#pragma once

#include <cstdint>

namespace transload {

// Throw FormatError with `what` if the result has more than 64 bits.
std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, const char* what);
std::uint64_t checked_mul(std::uint64_t a, std::uint64_t b, const char* what);

// Up to a multiple of `step`. Not checked: for sizes that were.
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t step) {
  return (value + step - 1) / step * step;
}

// Percent of `whole` bytes that are missing where `there` of them are present; at least 1.
constexpr std::uint64_t percent_missing(std::uint64_t there, std::uint64_t whole) {
  const double part = static_cast<double>(whole - there) / static_cast<double>(whole);
  return part < 0.01 ? 1 : static_cast<std::uint64_t>(part * 100);
}

}  // namespace transload
