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

// "404 bytes", "1.50 MB": powers of 1000, three digits.
std::string human_bytes(std::uint64_t nbytes);

}  // namespace transload
