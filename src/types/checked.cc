#include "types/checked.h"

#include <array>
#include <cmath>
#include <cstdio>

#include "transload/error.h"

namespace transload {

std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, const char* what) {
  std::uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) {
    throw FormatError(std::string(what) + ": " + std::to_string(a) + " + " + std::to_string(b) +
                      " has more than 64 bits");
  }
  return sum;
}

std::uint64_t checked_mul(std::uint64_t a, std::uint64_t b, const char* what) {
  std::uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) {
    throw FormatError(std::string(what) + ": " + std::to_string(a) + " * " + std::to_string(b) +
                      " has more than 64 bits");
  }
  return product;
}

std::string human_bytes(std::uint64_t nbytes) {
  if (nbytes < 1000) return std::to_string(nbytes) + (nbytes == 1 ? " byte" : " bytes");
  constexpr std::array<const char*, 6> units = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(nbytes) / 1000;
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < units.size()) value /= 1000, ++unit;
  std::array<char, 32> text;
  const int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  std::snprintf(text.data(), text.size(), "%.*f %s", digits, value, units[unit]);
  return text.data();
}

}  // namespace transload
