// The opcodes of Python's pickle format, protocols 0 to 5, and the decoder that walks them. A pickle is a sequence of
// opcodes, each one byte, with an argument behind it for about half of them. The reader, the scanner and the writer use
// this one table.
// Facts: CPython, Lib/pickletools.py (3.14).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace transload {

// By the names of pickletools.
enum class Opcode : std::uint8_t {
  MARK = '(',
  STOP = '.',
  POP = '0',
  POP_MARK = '1',
  DUP = '2',
  FLOAT = 'F',
  INT = 'I',
  BININT = 'J',
  BININT1 = 'K',
  LONG = 'L',
  BININT2 = 'M',
  NONE = 'N',
  PERSID = 'P',
  BINPERSID = 'Q',
  REDUCE = 'R',
  STRING = 'S',
  BINSTRING = 'T',
  SHORT_BINSTRING = 'U',
  UNICODE = 'V',
  BINUNICODE = 'X',
  APPEND = 'a',
  BUILD = 'b',
  GLOBAL = 'c',
  DICT = 'd',
  EMPTY_DICT = '}',
  APPENDS = 'e',
  GET = 'g',
  BINGET = 'h',
  INST = 'i',
  LONG_BINGET = 'j',
  LIST = 'l',
  EMPTY_LIST = ']',
  OBJ = 'o',
  PUT = 'p',
  BINPUT = 'q',
  LONG_BINPUT = 'r',
  SETITEM = 's',
  TUPLE = 't',
  EMPTY_TUPLE = ')',
  SETITEMS = 'u',
  BINFLOAT = 'G',
  // Protocol 2
  PROTO = 0x80,
  NEWOBJ = 0x81,
  EXT1 = 0x82,
  EXT2 = 0x83,
  EXT4 = 0x84,
  TUPLE1 = 0x85,
  TUPLE2 = 0x86,
  TUPLE3 = 0x87,
  NEWTRUE = 0x88,
  NEWFALSE = 0x89,
  LONG1 = 0x8A,
  LONG4 = 0x8B,
  // Protocol 3
  BINBYTES = 'B',
  SHORT_BINBYTES = 'C',
  // Protocol 4
  SHORT_BINUNICODE = 0x8C,
  BINUNICODE8 = 0x8D,
  BINBYTES8 = 0x8E,
  EMPTY_SET = 0x8F,
  ADDITEMS = 0x90,
  FROZENSET = 0x91,
  NEWOBJ_EX = 0x92,
  STACK_GLOBAL = 0x93,
  MEMOIZE = 0x94,
  FRAME = 0x95,
  // Protocol 5
  BYTEARRAY8 = 0x96,
  NEXT_BUFFER = 0x97,
  READONLY_BUFFER = 0x98,
};

inline constexpr int kMaxPickleProtocol = 5;

// How an argument is laid out behind its opcode. Numbers are little-endian, except float8.
enum class ArgumentKind : std::uint8_t {
  none,
  uint1,
  uint2,
  uint4,
  uint8,
  int4,
  float8,      // an IEEE double, big-endian
  bytes1,      // a length of one byte, then as many bytes
  bytes4,      // the same with a length of four bytes,
  bytes4_int,  // of four bytes, signed,
  bytes8,      // and of eight bytes
  line,        // text up to a line break
  two_lines,
};

struct OpcodeInfo {
  Opcode code;
  std::string_view name;
  ArgumentKind argument;
  std::uint8_t protocol;  // the first one that has it
};

std::span<const OpcodeInfo> opcodes();
// Null if `byte` is not an opcode.
const OpcodeInfo* find_opcode(std::uint8_t byte);
std::string_view name(Opcode opcode);

// What one opcode and its argument say.
struct Instruction {
  Opcode opcode = Opcode::STOP;
  std::size_t offset = 0;    // of the opcode
  std::uint64_t number = 0;  // an integer, or the bits of a float8; a length if there is `text`
  // The counted bytes, or the line without its line break. They lie in the pickle. Only set by opcodes that have them.
  std::string_view text, second_line;

  std::int64_t integer() const { return static_cast<std::int64_t>(number); }
  double real() const { return std::bit_cast<double>(__builtin_bswap64(number)); }
};

// Walks the instructions of a pickle whose bytes may claim anything. Checks every length before it reads and allocates
// nothing. The bytes must outlive it.
class OpcodeDecoder {
 public:
  explicit OpcodeDecoder(std::span<const std::byte> bytes)
      : bytes_(reinterpret_cast<const char*>(bytes.data()), bytes.size()) {}

  // Decodes the next instruction into now(). Returns false if there is none or it is cut short; error() says why.
  bool next();
  const Instruction& now() const { return now_; }

  // Where the next instruction begins. After a failure, the end of the bytes; after an unknown opcode, the byte behind it.
  std::size_t end_offset() const { return at_; }
  // Leaves out bytes that are not opcodes. Returns false if fewer are left.
  bool skip(std::uint64_t nbytes) {
    if (nbytes > bytes_.size() - at_) return false;
    at_ += static_cast<std::size_t>(nbytes);
    return true;
  }

  // "opcode BINUNICODE needs 10 bytes, but only 5 are left"
  std::string error() const;

 private:
  enum class Tail : std::uint8_t { none, sign, bytes, bytes_of_signed, line, two_lines, unknown };
  // An ArgumentKind, as the decoder takes it apart: a number of 0 to 8 bytes, and what follows it.
  struct Layout {
    std::uint8_t number_nbytes = 0;
    Tail tail = Tail::unknown;
  };
  static const std::array<Layout, 256> kLayouts;
  static constexpr Layout layout_of(ArgumentKind kind);
  static constexpr std::array<Layout, 256> layouts();

  enum class Failure : std::uint8_t { none, no_stop, truncated, open_line, negative, unknown };
  bool fail(Failure failure);
  bool take_bytes(std::uint64_t nbytes);
  bool take_line(std::string_view& line);
  bool take_tail(Tail tail);

  std::string_view bytes_;
  std::size_t at_ = 0;
  Instruction now_;
  Failure failure_ = Failure::none;
  std::uint64_t needed_ = 0, left_ = 0;  // bytes, of a truncated argument
};

// Inline, as are the few lines that most instructions take: half the time of opening a file goes into its pickle.
inline bool OpcodeDecoder::take_bytes(std::uint64_t nbytes) {
  if (nbytes > bytes_.size() - at_) {
    needed_ = nbytes;
    left_ = bytes_.size() - at_;
    return fail(Failure::truncated);
  }
  now_.text = std::string_view(bytes_.data() + at_, static_cast<std::size_t>(nbytes));
  at_ += static_cast<std::size_t>(nbytes);
  return true;
}

inline bool OpcodeDecoder::next() {
  now_.offset = at_;
  if (at_ == bytes_.size()) return fail(Failure::no_stop);
  const auto byte = static_cast<std::uint8_t>(bytes_[at_++]);
  now_.opcode = static_cast<Opcode>(byte);
  const Layout layout = kLayouts[byte];
  if (layout.number_nbytes > 0) {
    if (!take_bytes(layout.number_nbytes)) return false;
    now_.number = 0;
    switch (layout.number_nbytes) {  // of a known size a copy is one load
      case 1:
        now_.number = static_cast<std::uint8_t>(now_.text[0]);
        break;
      case 2:
        std::memcpy(&now_.number, now_.text.data(), 2);
        break;
      case 4:
        std::memcpy(&now_.number, now_.text.data(), 4);
        break;
      default:
        std::memcpy(&now_.number, now_.text.data(), 8);
    }
  }
  if (layout.tail == Tail::none) return true;
  if (layout.tail == Tail::bytes) return take_bytes(now_.number);
  return take_tail(layout.tail);
}

}  // namespace transload
