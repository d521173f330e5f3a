// Facts: CPython, Lib/pickletools.py (3.14); Lib/pickle.py, save_long.
#include "pickle/opcode_encoder.h"

#include <array>
#include <bit>

namespace transload {
namespace {

// The bytes of an argument that is a number, or of the length of counted bytes. 0: neither.
constexpr std::size_t number_nbytes(ArgumentKind kind) {
  switch (kind) {
    case ArgumentKind::uint1:
    case ArgumentKind::bytes1:
      return 1;
    case ArgumentKind::uint2:
      return 2;
    case ArgumentKind::uint4:
    case ArgumentKind::int4:
    case ArgumentKind::bytes4:
    case ArgumentKind::bytes4_int:
      return 4;
    case ArgumentKind::uint8:
    case ArgumentKind::float8:
    case ArgumentKind::bytes8:
      return 8;
    case ArgumentKind::none:
    case ArgumentKind::line:
    case ArgumentKind::two_lines:
      break;
  }
  return 0;
}

// By opcode: the writer asks for each value.
std::array<std::uint8_t, 256> all_number_nbytes() {
  std::array<std::uint8_t, 256> all{};
  for (const OpcodeInfo& known : opcodes())
    all[static_cast<std::size_t>(known.code)] =
        static_cast<std::uint8_t>(number_nbytes(known.argument));
  return all;
}

std::size_t number_nbytes(Opcode opcode) {
  static const std::array<std::uint8_t, 256> all = all_number_nbytes();
  return all[static_cast<std::size_t>(opcode)];
}

}  // namespace

void OpcodeEncoder::append_number(std::uint64_t value, std::size_t nbytes) {
  bytes_.append(reinterpret_cast<const char*>(&value), nbytes);
}

OpcodeEncoder& OpcodeEncoder::add(Opcode opcode) {
  bytes_ += static_cast<char>(opcode);
  return *this;
}

OpcodeEncoder& OpcodeEncoder::add(Opcode opcode, std::int64_t number) {
  add(opcode);
  append_number(static_cast<std::uint64_t>(number), number_nbytes(opcode));
  return *this;
}

OpcodeEncoder& OpcodeEncoder::add_real(double value) {
  add(Opcode::BINFLOAT);
  append_number(__builtin_bswap64(std::bit_cast<std::uint64_t>(value)), 8);
  return *this;
}

OpcodeEncoder& OpcodeEncoder::add(Opcode opcode, std::string_view text) {
  add(opcode);
  const std::size_t length_nbytes = number_nbytes(opcode);
  append_number(text.size(), length_nbytes);
  bytes_ += text;
  if (length_nbytes == 0) bytes_ += '\n';
  return *this;
}

OpcodeEncoder& OpcodeEncoder::add(Opcode opcode, std::string_view line,
                                  std::string_view second_line) {
  add(opcode, line);
  bytes_ += second_line;
  bytes_ += '\n';
  return *this;
}

OpcodeEncoder& OpcodeEncoder::add_encoded(std::string_view opcodes) {
  bytes_ += opcodes;
  return *this;
}

OpcodeEncoder& OpcodeEncoder::add_integer(std::int64_t value) {
  if (value >= 0 && value <= UINT8_MAX) return add(Opcode::BININT1, value);
  if (value >= 0 && value <= UINT16_MAX) return add(Opcode::BININT2, value);
  if (value >= INT32_MIN && value <= INT32_MAX) return add(Opcode::BININT, value);
  std::size_t nbytes = 8;  // the fewest that keep the sign
  while (value >> (8 * nbytes - 9) == (value < 0 ? -1 : 0)) --nbytes;
  return add(Opcode::LONG1, {reinterpret_cast<const char*>(&value), nbytes});
}

OpcodeEncoder& OpcodeEncoder::add_big_integer(std::string_view bytes) {
  return add(bytes.size() <= UINT8_MAX ? Opcode::LONG1 : Opcode::LONG4, bytes);
}

}  // namespace transload
