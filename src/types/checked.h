// Arithmetic on sizes that a file claims: no overflow goes unseen. And sizes as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace transload {

// Throw FormatError with `what` if the result has more than 64 bits.
std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, const char* what);
std::uint64_t checked_mul(std::uint64_t a, std::uint64_t b, const char* what);

// Up to a multiple of `step`. Not checked: for sizes that were.
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t step) {
  return (value + step - 1) / step * step;
}

// Of `whole` bytes, of which `there` are there. At least 1.
constexpr std::uint64_t percent_missing(std::uint64_t there, std::uint64_t whole) {
  const double part = static_cast<double>(whole - there) / static_cast<double>(whole);
  return part < 0.01 ? 1 : static_cast<std::uint64_t>(part * 100);
}

// "404 bytes", "1.50 MB": powers of 1000, three digits.
std::string human_bytes(std::uint64_t nbytes);

}  // namespace transload
