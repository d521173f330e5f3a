// Facts: CPython, Lib/pickletools.py (3.14), `opcodes`.
#include "pickle/opcodes.h"

namespace transload {
namespace {

using enum ArgumentKind;

constexpr OpcodeInfo kOpcodes[] = {
    // Numbers
    {Opcode::INT, "INT", line, 0},
    {Opcode::BININT, "BININT", int4, 1},
    {Opcode::BININT1, "BININT1", uint1, 1},
    {Opcode::BININT2, "BININT2", uint2, 1},
    {Opcode::LONG, "LONG", line, 0},
    {Opcode::LONG1, "LONG1", bytes1, 2},
    {Opcode::LONG4, "LONG4", bytes4_int, 2},
    {Opcode::FLOAT, "FLOAT", line, 0},
    {Opcode::BINFLOAT, "BINFLOAT", float8, 1},
    {Opcode::NONE, "NONE", none, 0},
    {Opcode::NEWTRUE, "NEWTRUE", none, 2},
    {Opcode::NEWFALSE, "NEWFALSE", none, 2},
    // Texts and bytes
    {Opcode::STRING, "STRING", line, 0},
    {Opcode::BINSTRING, "BINSTRING", bytes4_int, 1},
    {Opcode::SHORT_BINSTRING, "SHORT_BINSTRING", bytes1, 1},
    {Opcode::UNICODE, "UNICODE", line, 0},
    {Opcode::SHORT_BINUNICODE, "SHORT_BINUNICODE", bytes1, 4},
    {Opcode::BINUNICODE, "BINUNICODE", bytes4, 1},
    {Opcode::BINUNICODE8, "BINUNICODE8", bytes8, 4},
    {Opcode::BINBYTES, "BINBYTES", bytes4, 3},
    {Opcode::SHORT_BINBYTES, "SHORT_BINBYTES", bytes1, 3},
    {Opcode::BINBYTES8, "BINBYTES8", bytes8, 4},
    {Opcode::BYTEARRAY8, "BYTEARRAY8", bytes8, 5},
    {Opcode::NEXT_BUFFER, "NEXT_BUFFER", none, 5},
    {Opcode::READONLY_BUFFER, "READONLY_BUFFER", none, 5},
    // Containers
    {Opcode::EMPTY_LIST, "EMPTY_LIST", none, 1},
    {Opcode::APPEND, "APPEND", none, 0},
    {Opcode::APPENDS, "APPENDS", none, 1},
    {Opcode::LIST, "LIST", none, 0},
    {Opcode::EMPTY_TUPLE, "EMPTY_TUPLE", none, 1},
    {Opcode::TUPLE, "TUPLE", none, 0},
    {Opcode::TUPLE1, "TUPLE1", none, 2},
    {Opcode::TUPLE2, "TUPLE2", none, 2},
    {Opcode::TUPLE3, "TUPLE3", none, 2},
    {Opcode::EMPTY_DICT, "EMPTY_DICT", none, 1},
    {Opcode::DICT, "DICT", none, 0},
    {Opcode::SETITEM, "SETITEM", none, 0},
    {Opcode::SETITEMS, "SETITEMS", none, 1},
    {Opcode::EMPTY_SET, "EMPTY_SET", none, 4},
    {Opcode::ADDITEMS, "ADDITEMS", none, 4},
    {Opcode::FROZENSET, "FROZENSET", none, 4},
    // The stack and the memo
    {Opcode::POP, "POP", none, 0},
    {Opcode::DUP, "DUP", none, 0},
    {Opcode::MARK, "MARK", none, 0},
    {Opcode::POP_MARK, "POP_MARK", none, 1},
    {Opcode::GET, "GET", line, 0},
    {Opcode::BINGET, "BINGET", uint1, 1},
    {Opcode::LONG_BINGET, "LONG_BINGET", uint4, 1},
    {Opcode::PUT, "PUT", line, 0},
    {Opcode::BINPUT, "BINPUT", uint1, 1},
    {Opcode::LONG_BINPUT, "LONG_BINPUT", uint4, 1},
    {Opcode::MEMOIZE, "MEMOIZE", none, 4},
    // Names of classes and functions, and their uses
    {Opcode::EXT1, "EXT1", uint1, 2},
    {Opcode::EXT2, "EXT2", uint2, 2},
    {Opcode::EXT4, "EXT4", int4, 2},
    {Opcode::GLOBAL, "GLOBAL", two_lines, 0},
    {Opcode::STACK_GLOBAL, "STACK_GLOBAL", none, 4},
    {Opcode::REDUCE, "REDUCE", none, 0},
    {Opcode::BUILD, "BUILD", none, 0},
    {Opcode::INST, "INST", two_lines, 0},
    {Opcode::OBJ, "OBJ", none, 1},
    {Opcode::NEWOBJ, "NEWOBJ", none, 2},
    {Opcode::NEWOBJ_EX, "NEWOBJ_EX", none, 4},
    {Opcode::PERSID, "PERSID", line, 0},
    {Opcode::BINPERSID, "BINPERSID", none, 1},
    // The pickle itself
    {Opcode::PROTO, "PROTO", uint1, 2},
    {Opcode::STOP, "STOP", none, 0},
    {Opcode::FRAME, "FRAME", uint8, 4},
};

}  // namespace

std::span<const OpcodeInfo> opcodes() { return kOpcodes; }

const OpcodeInfo* find_opcode(std::uint8_t byte) {
  for (const OpcodeInfo& known : kOpcodes) {
    if (static_cast<std::uint8_t>(known.code) == byte) return &known;
  }
  return nullptr;
}

std::string_view name(Opcode opcode) {
  const OpcodeInfo* const known = find_opcode(static_cast<std::uint8_t>(opcode));
  return known ? known->name : "unknown";
}

constexpr OpcodeDecoder::Layout OpcodeDecoder::layout_of(ArgumentKind kind) {
  switch (kind) {
    case none:
      return {0, Tail::none};
    case uint1:
      return {1, Tail::none};
    case uint2:
      return {2, Tail::none};
    case uint4:
      return {4, Tail::none};
    case uint8:
    case float8:
      return {8, Tail::none};
    case int4:
      return {4, Tail::sign};
    case bytes1:
      return {1, Tail::bytes};
    case bytes4:
      return {4, Tail::bytes};
    case bytes4_int:
      return {4, Tail::bytes_of_signed};
    case bytes8:
      return {8, Tail::bytes};
    case line:
      return {0, Tail::line};
    case two_lines:
      return {0, Tail::two_lines};
  }
  return {};
}

constexpr std::array<OpcodeDecoder::Layout, 256> OpcodeDecoder::layouts() {
  std::array<Layout, 256> all{};
  for (const OpcodeInfo& known : kOpcodes)
    all[static_cast<std::size_t>(known.code)] = layout_of(known.argument);
  return all;
}

constinit const std::array<OpcodeDecoder::Layout, 256> OpcodeDecoder::kLayouts = layouts();

bool OpcodeDecoder::fail(Failure failure) {
  failure_ = failure;
  if (failure != Failure::unknown) at_ = bytes_.size();
  return false;
}

bool OpcodeDecoder::take_line(std::string_view& line) {
  const std::size_t end = bytes_.find('\n', at_);
  if (end == std::string_view::npos) return fail(Failure::open_line);
  line = bytes_.substr(at_, end - at_);
  at_ = end + 1;
  return true;
}

bool OpcodeDecoder::take_tail(Tail tail) {
  const auto as_signed = [&] { return static_cast<std::int32_t>(now_.number); };
  switch (tail) {
    case Tail::none:
      return true;
    case Tail::sign:
      now_.number = static_cast<std::uint64_t>(std::int64_t{as_signed()});
      return true;
    case Tail::bytes:
      return take_bytes(now_.number);
    case Tail::bytes_of_signed:
      return as_signed() < 0 ? fail(Failure::negative) : take_bytes(now_.number);
    case Tail::line:
      return take_line(now_.text);
    case Tail::two_lines:
      return take_line(now_.text) && take_line(now_.second_line);
    case Tail::unknown:
      break;
  }
  return fail(Failure::unknown);
}

std::string OpcodeDecoder::error() const {
  const std::string opcode = "opcode " + std::string(name(now_.opcode));
  switch (failure_) {
    case Failure::none:
      return "";
    case Failure::no_stop:
      return "the pickle ends without STOP";
    case Failure::truncated:
      return opcode + " needs " + std::to_string(needed_) + " bytes, but only " +
             std::to_string(left_) + (left_ == 1 ? " is left" : " are left");
    case Failure::open_line:
      return opcode + " needs a line, but no line break follows";
    case Failure::negative:
      return opcode + " has a negative length, " +
             std::to_string(static_cast<std::int32_t>(now_.number));
    case Failure::unknown:
      return "byte " + std::to_string(static_cast<int>(now_.opcode)) + " is not a pickle opcode";
  }
  return "";
}

}  // namespace transload
