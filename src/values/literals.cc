#include "values/literals.h"

#include <array>
#include <charconv>
#include <cmath>
#include <vector>

namespace transload {

std::string integer_literal(std::span<const std::byte> twos_complement) {
  std::vector<std::uint32_t> limbs;  // magnitude, little-endian
  const bool negative = (twos_complement.back() & std::byte{0x80}) != std::byte{0};
  for (std::size_t i = 0; i < twos_complement.size(); ++i) {
    if (i % 4 == 0) limbs.push_back(0);
    limbs.back() |= std::to_integer<std::uint32_t>(twos_complement[i]) << (8 * (i % 4));
  }
  if (negative) {
    const std::size_t in_last = (twos_complement.size() - 1) % 4 + 1;
    if (in_last < 4) limbs.back() |= ~0u << (8 * in_last);
    std::uint64_t carry = 1;
    for (std::uint32_t& limb : limbs) {
      carry += static_cast<std::uint32_t>(~limb);
      limb = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
  }
  std::string digits;
  while (!limbs.empty()) {
    std::uint64_t rest = 0;
    for (std::size_t i = limbs.size(); i-- > 0;) {
      rest = (rest << 32) | limbs[i];
      limbs[i] = static_cast<std::uint32_t>(rest / 1'000'000'000);
      rest %= 1'000'000'000;
    }
    while (!limbs.empty() && limbs.back() == 0) limbs.pop_back();
    for (int i = 0; i < 9 && (!limbs.empty() || rest); ++i, rest /= 10)
      digits += static_cast<char>('0' + rest % 10);
  }
  if (digits.empty()) digits = "0";
  if (negative) digits += '-';
  return {digits.rbegin(), digits.rend()};
}

std::string real_literal(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 32> digits;
  const double size = std::fabs(value);
  const auto format = size != 0 && (size < 1e-4 || size >= 1e16) ? std::chars_format::scientific
                                                                 : std::chars_format::fixed;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, format).ptr;
  std::string text(digits.data(), end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string text_literal(std::string_view text) {
  const char quote =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"'
                                                                                            : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      (out += '\\') += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      constexpr std::string_view hex = "0123456789abcdef";
      ((out += "\\x") += hex[static_cast<unsigned char>(c) >> 4]) +=
          hex[static_cast<unsigned char>(c) & 15];
    } else {
      out += c;
    }
  }
  return out += quote;
}

std::string bytes_literal(std::string_view bytes) {
  std::string out = "b'";
  for (const char c : bytes) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u >= 0x7F) {
      constexpr std::string_view hex = "0123456789abcdef";
      ((out += "\\x") += hex[u >> 4]) += hex[u & 15];
    } else {
      if (c == '\'' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out += '\'';
}

}  // namespace transload
