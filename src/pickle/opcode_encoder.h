// Writes opcodes with their arguments, the other way around from OpcodeDecoder: how an argument is laid out comes from the
// same table.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "pickle/opcodes.h"

namespace transload {

// Appends to bytes(). The caller chooses an opcode that has the argument it gives, with room for the value.
class OpcodeEncoder {
 public:
  OpcodeEncoder& add(Opcode opcode);
  // uint1 to uint8 and int4, in two's complement.
  OpcodeEncoder& add(Opcode opcode, std::int64_t number);
  OpcodeEncoder& add_real(double value);  // BINFLOAT
  // Counted bytes, or a line: `text` without its line break.
  OpcodeEncoder& add(Opcode opcode, std::string_view text);
  OpcodeEncoder& add(Opcode opcode, std::string_view line, std::string_view second_line);
  // Opcodes that are encoded already.
  OpcodeEncoder& add_encoded(std::string_view opcodes);

  // The shortest form of protocol 2, as Lib/pickle.py has it.
  OpcodeEncoder& add_integer(std::int64_t value);
  // Two's complement, little-endian.
  OpcodeEncoder& add_big_integer(std::string_view bytes);

  const std::string& bytes() const { return bytes_; }
  std::string take() { return std::move(bytes_); }

 private:
  void append_number(std::uint64_t value, std::size_t nbytes);

  std::string bytes_;
};

}  // namespace transload
