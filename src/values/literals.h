// Plain values as Python's repr() writes them.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace transload {

// Takes two's complement, little-endian, of any length. The time grows with the square of it.
std::string integer_literal(std::span<const std::byte> twos_complement);
// The shortest digits that read back as the same number.
std::string real_literal(double value);
std::string text_literal(std::string_view text);
std::string bytes_literal(std::string_view bytes);

}  // namespace transload
