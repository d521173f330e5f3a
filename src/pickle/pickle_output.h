// A pickle that is being written: opcodes go to an encoder, and the memo's numbers are given out one after the other.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "pickle/opcode_encoder.h"

namespace transload {

// The opcode that makes a tuple of so many values; of more than three, from the mark on.
inline Opcode tuple_opcode(std::size_t count) {
  constexpr Opcode kTuples[] = {Opcode::EMPTY_TUPLE, Opcode::TUPLE1, Opcode::TUPLE2,
                                Opcode::TUPLE3};
  return count < std::size(kTuples) ? kTuples[count] : Opcode::TUPLE;
}
inline bool needs_mark(std::size_t count) { return tuple_opcode(count) == Opcode::TUPLE; }

class PickleOutput {
 public:
  OpcodeEncoder& encoder() { return encoder_; }
  void add(Opcode opcode) { encoder_.add(opcode); }
  void text(std::string_view text) { encoder_.add(Opcode::BINUNICODE, text); }
  void boolean(bool value) { add(value ? Opcode::NEWTRUE : Opcode::NEWFALSE); }

  // Stores the value on top in the memo and returns its number.
  std::uint32_t put() {
    encoder_.add(next_memo_ <= UINT8_MAX ? Opcode::BINPUT : Opcode::LONG_BINPUT,
                 std::int64_t{next_memo_});
    return next_memo_++;
  }
  void get(std::uint32_t number) {
    encoder_.add(number <= UINT8_MAX ? Opcode::BINGET : Opcode::LONG_BINGET, std::int64_t{number});
  }

  // Texts and names that the writer itself repeats: written once, then read from the memo.
  void repeated_text(std::string_view text) {
    once(OpcodeEncoder().add(Opcode::BINUNICODE, text).take());
  }
  void global(std::string_view module, std::string_view name) {
    once(OpcodeEncoder().add(Opcode::GLOBAL, module, name).take());
  }

  // Makes a tuple of the last values and calls the function below it.
  void call(std::size_t argument_count) {
    add(tuple_opcode(argument_count));
    add(Opcode::REDUCE);
  }
  void empty_ordered_dict() {
    global("collections", "OrderedDict");
    call(0);
  }

  std::string take() { return encoder_.take(); }

 private:
  void once(const std::string& encoded) {
    const auto found = repeated_.find(encoded);
    if (found != repeated_.end()) return get(found->second);
    encoder_.add_encoded(encoded);
    repeated_.emplace(encoded, put());
  }

  OpcodeEncoder encoder_;
  std::uint32_t next_memo_ = 0;
  std::map<std::string, std::uint32_t> repeated_;
};

}  // namespace transload
