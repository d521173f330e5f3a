// Checked addition and multiplication, by the compiler's overflow builtins.
#include "types/checked.h"

#include <string>

#include "transload/error.h"

namespace transload {

std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, const char* what) {
  std::uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) {
    throw FormatError(std::string(what) + ": " + std::to_string(a) + " + " + std::to_string(b) +
                      " needs more than 64 bits");
  }
  return sum;
}

std::uint64_t checked_mul(std::uint64_t a, std::uint64_t b, const char* what) {
  std::uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) {
    throw FormatError(std::string(what) + ": " + std::to_string(a) + " * " + std::to_string(b) +
                      " needs more than 64 bits");
  }
  return product;
}

}  // namespace transload
