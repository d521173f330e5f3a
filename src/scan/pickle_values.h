// PickleValues: the stack machine of a pickle, as far as the scanner follows it. It executes the opcodes that move values,
// bring plain ones or collect them into tuples, lists and dicts; PickleWalk in pickle_scan.cc executes those that import, call
// and set states. Of each value it keeps a Known.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "pickle/memo.h"
#include "pickle/opcodes.h"
#include "scan/known_values.h"
#include "scan/pickle_uses.h"

namespace transload {

class PickleValues {
 public:
  // The references must outlive it. most_elements: an array of more cannot be in the file.
  PickleValues(Texts& texts, KnownStack& stack, PickleUses& uses, std::size_t most_elements)
      : texts_(texts), stack_(stack), uses_(uses), most_elements_(most_elements) {}

  // Does nothing for the opcodes that the walk executes. Throws Broken if the stack lacks a value or a mark.
  void execute(const Instruction& now);
  // Replaces the items, the last of the stack, by a tuple of them.
  void push_tuple(std::span<const Known> items);

 private:
  void push_memo(std::optional<std::uint64_t> number);
  // No pickler writes a number oddly: it makes readers differ on what the memo holds.
  std::optional<std::uint64_t> written_number(std::string_view digits);
  void take_items();
  void set_item();
  // Keys and values one after the other, the last of the stack.
  void set_items(std::span<const Known> items);

  Texts& texts_;
  KnownStack& stack_;
  PickleUses& uses_;
  const std::size_t most_elements_;
  PickleMemo<Known> memo_;
  std::vector<bool> filled_dicts_;  // by the number of the EMPTY_DICT
};

}  // namespace transload
