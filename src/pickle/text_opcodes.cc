#include "pickle/text_opcodes.h"

#include <charconv>
#include <vector>

#include "pickle/marked_stack.h"
#include "types/utf8.h"

namespace transload {
namespace {

template <class Number>
Number number_in(std::string_view text, const char* what, int base = 10) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size())
    throw OpcodeError(std::string("has a line that is not ") + what);
  return value;
}

// The value of the `count` hexadecimal digits from `at` on, which moves behind them.
std::uint32_t hexadecimal(std::string_view text, std::size_t& at, std::size_t count) {
  if (text.size() - at < count) throw OpcodeError("has an escape that ends early");
  const auto value = number_in<std::uint32_t>(text.substr(at, count), "a hexadecimal number", 16);
  at += count;
  return value;
}

void append_utf8(std::string& text, std::uint32_t c) {
  const auto add = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (c > 0x10FFFF) throw OpcodeError("has an escape that is not a character");
  if (c < 0x80) return add(c);
  if (c < 0x800) {
    add(0xC0 | c >> 6);
  } else if (c < 0x10000) {
    add(0xE0 | c >> 12);
    add(0x80 | (c >> 6 & 0x3F));
  } else {
    add(0xF0 | c >> 18);
    add(0x80 | (c >> 12 & 0x3F));
    add(0x80 | (c >> 6 & 0x3F));
  }
  add(0x80 | (c & 0x3F));
}

// One escape of a str, behind its backslash.
void append_escape(std::string& bytes, std::string_view text, std::size_t& at) {
  constexpr std::string_view kNames = "\\'\"abfnrtv", kBytes = "\\'\"\a\b\f\n\r\t\v";
  if (at == text.size()) throw OpcodeError("has an escape that ends early");
  const char c = text[at++];
  if (c == 'x') {
    bytes += static_cast<char>(hexadecimal(text, at, 2));
  } else if (const std::size_t known = kNames.find(c); known != kNames.npos) {
    bytes += kBytes[known];
  } else {
    throw OpcodeError("has an escape that no pickler writes");
  }
}

// Decimal digits as a number in two's complement, little-endian.
std::string big_integer(std::string_view digits, bool is_negative) {
  std::vector<std::uint8_t> bytes(1);
  for (const char digit : digits) {
    unsigned carry = static_cast<unsigned>(digit - '0');
    for (std::uint8_t& byte : bytes) {
      carry += byte * 10u;
      byte = static_cast<std::uint8_t>(carry);
      carry >>= 8;
    }
    if (carry > 0) bytes.push_back(static_cast<std::uint8_t>(carry));
  }
  if (bytes.back() & 0x80) bytes.push_back(0);  // room for the sign
  if (is_negative) {
    unsigned carry = 1;
    for (std::uint8_t& byte : bytes) {
      carry += static_cast<std::uint8_t>(~byte);
      byte = static_cast<std::uint8_t>(carry);
      carry >>= 8;
    }
  }
  return {bytes.begin(), bytes.end()};
}

// INT: "7"; "01" and "00" are bools.
NodeId integer_of_line(NodeTable& nodes, std::string_view line) {
  if (line == "01" || line == "00") return nodes.boolean(line == "01");
  return nodes.integer(number_in<std::int64_t>(line, "an int"));
}

// LONG: "-7L", of any size.
NodeId long_of_line(NodeTable& nodes, std::string_view line) {
  constexpr std::size_t kMostDigits = 4300;  // as Python: int_max_str_digits
  if (line.ends_with('L')) line.remove_suffix(1);
  const bool is_negative = line.starts_with('-');
  if (is_negative) line.remove_prefix(1);
  if (line.empty() || line.size() > kMostDigits ||
      line.find_first_not_of("0123456789") != line.npos)
    throw OpcodeError("has a line that is not an int of at most 4300 digits");
  const std::string bytes = big_integer(line, is_negative);
  return nodes.big_integer(std::as_bytes(std::span(bytes)));
}

double real_of_line(std::string_view line) {
  double value = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
  // Out of range is not an error in Python: 1e400 is inf, 1e-400 is 0.
  if (error != std::errc() || end != line.data() + line.size())
    throw OpcodeError("has a line that is not a float");
  return value;
}

// STRING: 'a\x00b'.
std::string bytes_of_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  const bool is_quoted = line.size() >= 2 && line.front() == line.back() &&
                         (line.front() == '\'' || line.front() == '"');
  if (!is_quoted) throw OpcodeError("has a str without quotes");
  const std::string_view text = line.substr(1, line.size() - 2);
  std::string bytes;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '\\')
      append_escape(bytes, text, ++at);
    else
      bytes += text[at++];
  }
  return bytes;
}

// UNICODE: Latin-1, with \u20ac for other characters.
std::string utf8_of_line(std::string_view line) {
  std::string text;
  for (std::size_t at = 0; at < line.size();) {
    const auto c = static_cast<unsigned char>(line[at++]);
    const bool is_escape = c == '\\' && at < line.size() && (line[at] == 'u' || line[at] == 'U');
    if (!is_escape) {
      append_utf8(text, c);
      continue;
    }
    const std::size_t digits = line[at++] == 'u' ? 4 : 8;
    append_utf8(text, hexadecimal(line, at, digits));
  }
  return text;
}

}  // namespace

NodeId value_of_line(NodeTable& nodes, const Instruction& now) {
  switch (now.opcode) {
    case Opcode::INT:
      return integer_of_line(nodes, now.text);
    case Opcode::LONG:
      return long_of_line(nodes, now.text);
    case Opcode::FLOAT:
      return nodes.real(real_of_line(now.text));
    case Opcode::STRING:
      return text_or_bytes(nodes, bytes_of_line(now.text));
    default:
      return nodes.text(utf8_of_line(now.text));
  }
}

NodeId text_or_bytes(NodeTable& nodes, std::string_view value) {
  return is_python_utf8(value) ? nodes.text(value) : nodes.bytes(value);
}

std::uint64_t number_of_line(std::string_view line) {
  return number_in<std::uint64_t>(line, "a number");
}

}  // namespace transload
