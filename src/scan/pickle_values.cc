// Facts: CPython, Lib/pickle.py, _Unpickler.
#include "scan/pickle_values.h"

#include <charconv>
#include <string>

#include "scan/joblib_arrays.h"
#include "scan/pickle_dtypes.h"

namespace transload {
namespace {

using Kind = Known::Kind;

// The number of a memo entry, in digits. Python takes other spellings too, as "+1" and "0_1", and in C whatever follows a
// NUL: of those, nothing.
std::optional<std::uint64_t> memo_number(std::string_view digits) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc() && std::to_string(value) == digits) return value;
  digits = digits.substr(0, digits.find('\0'));
  const bool may_be_one = digits.find_first_of("0123456789") != digits.npos &&
                          digits.find_first_not_of("0123456789+-_ \t\r\v\f") == digits.npos;
  if (!may_be_one) throw Broken{"has a memo number that is not a number"};
  return std::nullopt;
}

Known integer(std::int64_t value) {
  if (value < 0 || value > ~std::uint32_t{}) return {};
  return {Kind::integer, false, static_cast<std::uint32_t>(value)};
}

Known written_integer(std::string_view text) {
  std::uint32_t value = 0;
  if (text.ends_with('L')) text.remove_suffix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_all = error == std::errc() && end == text.data() + text.size();
  return is_all ? Known{Kind::integer, false, value} : Known{};
}

}  // namespace

void PickleValues::execute(const Instruction& now) {
  switch (now.opcode) {
    case Opcode::MARK:
      return stack_.push_mark();
    case Opcode::POP:
      return stack_.pop_value_or_mark();
    case Opcode::POP_MARK:
      return stack_.drop(stack_.take_mark().size());
    case Opcode::DUP:
      return stack_.push(stack_.top());
    case Opcode::PUT:
      if (const auto number = written_number(now.text)) memo_.put(*number, stack_.top());
      return;
    case Opcode::BINPUT:
    case Opcode::LONG_BINPUT:
      return memo_.put(now.number, stack_.top());
    case Opcode::MEMOIZE:
      return memo_.append(stack_.top());
    case Opcode::GET:
      return push_memo(written_number(now.text));
    case Opcode::BINGET:
    case Opcode::LONG_BINGET:
      return push_memo(now.number);

    case Opcode::NONE:
      return stack_.push({Kind::none});
    case Opcode::INT:
    case Opcode::LONG:
      return stack_.push(written_integer(now.text));
    case Opcode::BININT:
    case Opcode::BININT1:
    case Opcode::BININT2:
      return stack_.push(integer(now.integer()));
    case Opcode::EMPTY_TUPLE:
      return stack_.push(texts_.tuple({}));
    case Opcode::EMPTY_DICT:
      filled_dicts_.push_back(false);
      return stack_.push({Kind::dict, false, static_cast<std::uint32_t>(filled_dicts_.size() - 1)});

    // Values that cannot be a part of a name
    case Opcode::NEWTRUE:
    case Opcode::NEWFALSE:
    case Opcode::LONG1:
    case Opcode::LONG4:
    case Opcode::FLOAT:
    case Opcode::BINFLOAT:
    case Opcode::BINBYTES:
    case Opcode::SHORT_BINBYTES:
    case Opcode::BINBYTES8:
    case Opcode::BYTEARRAY8:
    case Opcode::NEXT_BUFFER:
    case Opcode::EMPTY_LIST:
    case Opcode::EMPTY_SET:
      return stack_.push({});

    case Opcode::STRING:
      return stack_.push(texts_.quoted_text(now.text));
    case Opcode::UNICODE:
      return stack_.push(texts_.escaped_text(now.text));
    case Opcode::BINSTRING:
    case Opcode::SHORT_BINSTRING:
    case Opcode::BINUNICODE:
    case Opcode::SHORT_BINUNICODE:
    case Opcode::BINUNICODE8:
      return stack_.push(texts_.text(now.text));

    case Opcode::TUPLE:
      return push_tuple(stack_.take_mark());
    case Opcode::TUPLE1:
      return push_tuple(stack_.last(1));
    case Opcode::TUPLE2:
      return push_tuple(stack_.last(2));
    case Opcode::TUPLE3:
      return push_tuple(stack_.last(3));
    case Opcode::LIST:
    case Opcode::DICT:
    case Opcode::FROZENSET:
      take_items();
      return stack_.push({});
    case Opcode::APPEND:
      uses_.give_away(stack_.pop());
      return uses_.add_set_items(stack_.top());
    case Opcode::APPENDS:
    case Opcode::ADDITEMS:
      take_items();
      return uses_.add_set_items(stack_.top());
    case Opcode::SETITEM:
      return set_item();
    case Opcode::SETITEMS:
      return set_items(stack_.take_mark());

    // Executed by the walk
    case Opcode::STOP:
    case Opcode::PROTO:
    case Opcode::FRAME:
    case Opcode::READONLY_BUFFER:
    case Opcode::GLOBAL:
    case Opcode::STACK_GLOBAL:
    case Opcode::EXT1:
    case Opcode::EXT2:
    case Opcode::EXT4:
    case Opcode::INST:
    case Opcode::OBJ:
    case Opcode::REDUCE:
    case Opcode::NEWOBJ:
    case Opcode::NEWOBJ_EX:
    case Opcode::BUILD:
    case Opcode::PERSID:
    case Opcode::BINPERSID:
      return;
  }
}

void PickleValues::push_memo(std::optional<std::uint64_t> number) {
  const Known* const found = number ? memo_.find(*number) : nullptr;
  stack_.push(found ? *found : Known{});
}

std::optional<std::uint64_t> PickleValues::written_number(std::string_view digits) {
  const auto number = memo_number(digits);
  if (!number)
    uses_.add(PickleUse::How::mention, "a memo entry with an odd number", Verdict::runs_code);
  return number;
}

// What a tuple holds is judged when the tuple is used: as arguments, or as a part of another value.
void PickleValues::push_tuple(std::span<const Known> items) {
  for (const Known& item : items) {
    if (item.kind == Kind::tuple) uses_.give_away(item);
  }
  if (items.size() > kMaxTupleItems) uses_.give_away(items.subspan(kMaxTupleItems));
  const Known made = texts_.tuple(items);
  stack_.drop(items.size());
  stack_.push(made);
}

void PickleValues::take_items() {
  const auto items = stack_.take_mark();
  uses_.give_away(items);
  stack_.drop(items.size());
}

void PickleValues::set_item() {
  const auto items = stack_.last(2);
  if (items.size() < 2) throw Broken{"needs a value, but the stack has none"};
  set_items(items);
}

void PickleValues::set_items(std::span<const Known> items) {
  uses_.give_away(items);
  const bool is_array = is_array_state(texts_, items);
  const Known filled =
      is_array ? texts_.array_state(read_array_state(texts_, items, most_elements_)) : Known{};
  const auto contents = contents_of_fields(texts_, items);
  stack_.drop(items.size());
  const Known target = stack_.top();
  uses_.add_set_items(target);
  if (target.kind != Kind::dict) return;
  const bool is_first = !filled_dicts_[target.text];
  filled_dicts_[target.text] = true;
  if (!is_first) return stack_.replace_top({});
  Known known = target;
  known.more = static_cast<std::uint32_t>(contents);
  stack_.replace_top(is_array ? filled : known);
}

}  // namespace transload
