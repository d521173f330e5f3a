// Facts: CPython, Lib/pickle.py, _Unpickler; torch/_tensor.py; torch/serialization.py, _legacy_load, for module ids.
#include "scan/pickle_scan.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <unordered_map>

#include "pickle/globals.h"
#include "pickle/memo.h"
#include "pickle/opcodes.h"

namespace transload {
namespace {

using How = PickleUse::How;

constexpr std::size_t kMaxName = 1000;  // a longer text is not the name of anything
constexpr std::size_t kMaxUses = 10'000, kMaxTextNbytes = 64 << 20;

// Thrown and caught here: the walk ends, what it found up to now counts.
struct Broken {
  std::string why;
};

// What is known of a value on the stack.
struct Known {
  enum class Kind : std::uint8_t {
    nothing,
    text,
    global,
    result,           // what a call of a global made
    tuple_of_text,    // a tuple that begins with a text
    tuple_of_global,  // a tuple that begins with a global
    attribute,        // the pair of a global and a text, as getattr takes it
    attribute_of_result,
    module_id,  // of PyTorch's old stream: ("module", class, file, source)
    looked_up   // what the loader's persistent_load returned
  } kind = Kind::nothing;
  // Number in Texts: the text; "module\nname" of a global, or of what made a result; what a tuple begins with; of an
  // attribute "module\nname.attribute"; of a module id the class.
  std::uint32_t text = 0;
};

// A global as one text: "module\nname".
struct GlobalName {
  explicit GlobalName(std::string_view text)
      : module(text.substr(0, text.find('\n'))), name(text.substr(text.find('\n') + 1)) {}
  std::string_view module, name;
};

std::string shown(std::string text) {
  const std::size_t line = text.find('\n');
  if (line != text.npos) text[line] = '.';
  return text;
}

// The texts of a pickle by number, each once, for values on the stack are copied all the time; and what is known of values that
// are made of them.
class Texts {
 public:
  explicit Texts(std::size_t most_nbytes) : most_nbytes_(most_nbytes) {}

  const std::string& operator[](const Known& value) const { return *texts_[value.text]; }

  // Looked up once for each name.
  Constructor constructor(const Known& global) {
    const auto [at, is_new] = constructors_.try_emplace(global.text, Constructor::none);
    if (is_new) {
      const GlobalName of((*this)[global]);
      at->second = constructor_of(of.module, of.name);
    }
    return at->second;
  }

  Known global(std::string_view module, std::string_view name) {
    return {Known::Kind::global, number_of(std::string(module.substr(0, kMaxName)) + "\n" +
                                           std::string(name.substr(0, kMaxName)))};
  }
  // A long text is not a name, but must not pass for an empty one: a part of it is kept.
  Known text(std::string_view text) {
    return {Known::Kind::text, number_of(std::string(text.substr(0, kMaxName)))};
  }
  // With escapes a text says something else than its bytes. No pickler writes a name with any, so nothing is known of it.
  Known escaped_text(std::string_view escaped) {
    return escaped.find('\\') == escaped.npos ? text(escaped) : Known{};
  }
  Known quoted_text(std::string_view quoted) {
    return escaped_text(quoted.size() >= 2 ? quoted.substr(1, quoted.size() - 2) : quoted);
  }
  Known tuple(std::span<const Known> items) {
    if (items.empty()) return {};
    const Known& first = items[0];
    const bool is_pair = items.size() == 2 && items[1].kind == Known::Kind::text;
    const auto pair = [&] { return number_of((*this)[first] + "." + (*this)[items[1]]); };
    switch (first.kind) {
      case Known::Kind::text:
        if ((*this)[first] == "module" && items.size() > 1 && items[1].kind == Known::Kind::global)
          return {Known::Kind::module_id, items[1].text};
        return {Known::Kind::tuple_of_text, first.text};
      case Known::Kind::result:
        return is_pair ? Known{Known::Kind::attribute_of_result, pair()} : Known{};
      case Known::Kind::global:
        return is_pair ? Known{Known::Kind::attribute, pair()}
                       : Known{Known::Kind::tuple_of_global, first.text};
      default:
        return {};
    }
  }

 private:
  std::uint32_t number_of(std::string text) {
    const auto [at, is_new] =
        numbers_.try_emplace(std::move(text), static_cast<std::uint32_t>(texts_.size()));
    if (!is_new) return at->second;
    texts_.push_back(&at->first);
    nbytes_ += at->first.size();
    if (nbytes_ > most_nbytes_) throw Broken{"brings more names and texts than a model has"};
    return at->second;
  }

  const std::size_t most_nbytes_;
  std::size_t nbytes_ = 0;
  std::map<std::string, std::uint32_t> numbers_;
  std::vector<const std::string*> texts_;
  std::unordered_map<std::uint32_t, Constructor> constructors_;  // by the number of the name
};

// The number of a memo entry, in digits. Python takes other spellings too, as "+1" and "0_1": of those, nothing.
std::optional<std::uint64_t> memo_number(std::string_view digits) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc() && std::to_string(value) == digits) return value;
  const bool may_be_one = digits.find_first_of("0123456789") != digits.npos &&
                          digits.find_first_not_of("0123456789+-_ \t\r\v\f") == digits.npos;
  if (!may_be_one) throw Broken{"has a memo number that is not a number"};
  return std::nullopt;
}

// Values and marks. A loader fails on an empty stack, but the opcodes before have run by then: that ends the walk.
class KnownStack {
 public:
  void push(Known value) { values_.push_back(value); }
  Known pop() {
    const std::size_t floor = marks_.empty() ? 0 : marks_.back();
    if (values_.size() <= floor) throw Broken{"needs a value, but the stack has none"};
    const Known top = values_.back();
    values_.pop_back();
    return top;
  }
  Known top() const { return values_.empty() ? Known{} : values_.back(); }
  bool is_empty() const { return values_.empty(); }

  void push_mark() { marks_.push_back(values_.size()); }
  void pop_value_or_mark() {
    if (!marks_.empty() && values_.size() == marks_.back())
      marks_.pop_back();
    else
      pop();
  }
  // Removes the last mark and returns the values above it. They stay until drop().
  std::span<const Known> take_mark() {
    if (marks_.empty()) throw Broken{"needs a mark, but there is none"};
    const std::size_t begin = std::min(marks_.back(), values_.size());
    marks_.pop_back();
    return std::span(values_).subspan(begin);
  }
  // The last values, fewer if there are not as many. They stay until drop().
  std::span<const Known> last(std::size_t count) const {
    return std::span(values_).last(std::min(count, values_.size()));
  }
  void drop(std::size_t count) { values_.resize(values_.size() - count); }

 private:
  std::vector<Known> values_;
  std::vector<std::size_t> marks_;
};

// The uses that were found, each name and way once.
class Uses {
 public:
  Uses(const Texts& texts, const std::string& member)
      : texts_(texts), member_(member.substr(0, kMaxName)) {}

  void set_offset(std::size_t offset) { offset_ = offset; }

  void add(How how, std::string name, Verdict verdict) {
    if (count_again(how, name)) return;
    seen_.emplace(std::pair(how, name), uses_.size());
    uses_.push_back({how, verdict, std::move(name), member_, offset_, 1});
    if (uses_.size() > kMaxUses) throw Broken{"uses more names than a model does"};
  }

  void add_use(How how, const Known& of) {
    switch (of.kind) {
      case Known::Kind::global:
        return add_judged(how, of);
      case Known::Kind::result:  // the result of a call is called: it may be anything
        return add(how, shown(texts_[of]) + "()", Verdict::runs_code);
      case Known::Kind::
          looked_up:  // PyTorch's persistent_load of whole modules returns classes too
        return add(how, "what was looked up", Verdict::needs_classes);
      default:
        return add(how, "a value that is not a name", Verdict::runs_code);
    }
  }

  // An object has a state to set. A class, a module or what others use too has none that a pickler would set.
  void add_set_state(const Known& of) {
    switch (of.kind) {
      case Known::Kind::global:
        return add(How::set_state, shown(texts_[of]) + " itself", Verdict::runs_code);
      case Known::Kind::result:
        return add_judged(How::set_state, of);
      case Known::Kind::looked_up:
        return add(How::set_state, "what was looked up, itself", Verdict::runs_code);
      default:
        return;
    }
  }

  std::vector<PickleUse> take() { return std::move(uses_); }

 private:
  // Judges each name once: a checkpoint calls the same few for each of its tensors.
  void add_judged(How how, const Known& global) {
    std::string name = shown(texts_[global]);
    if (count_again(how, name)) return;
    const GlobalName of(texts_[global]);
    add(how, std::move(name), judge_global(of.module, of.name, how).verdict);
  }

  bool count_again(How how, const std::string& name) {
    const auto found = seen_.find({how, name});
    if (found == seen_.end()) return false;
    ++uses_[found->second].count;
    return true;
  }

  const Texts& texts_;
  const std::string member_;
  std::size_t offset_ = 0;
  std::map<std::pair<How, std::string>, std::size_t> seen_;
  std::vector<PickleUse> uses_;
};

class Scanner {
 public:
  Scanner(std::span<const std::byte> bytes, const std::string& member)
      : decoder_(bytes), texts_(kMaxTextNbytes + bytes.size()), uses_(texts_, member) {}

  PickleScan run() {
    std::string broken;
    try {
      while (decoder_.next() && now().opcode != Opcode::STOP) {
        uses_.set_offset(now().offset);
        execute();
      }
      broken = decoder_.error();
      if (broken.empty() && stack_.is_empty()) broken = "the pickle ends without a value";
    } catch (const Broken& error) {
      broken = "opcode " + std::string(name(now().opcode)) + " " + error.why;
    }
    if (!broken.empty()) broken = "offset " + std::to_string(now().offset) + ": " + broken;
    return {uses_.take(), decoder_.end_offset(), broken};
  }

 private:
  using Kind = Known::Kind;

  const Instruction& now() const { return decoder_.now(); }

  void execute() {
    switch (now().opcode) {
      case Opcode::PROTO:
        if (now().number > kMaxPickleProtocol)
          throw Broken{"names protocol " + std::to_string(now().number)};
        return;
      case Opcode::STOP:
      case Opcode::FRAME:
      case Opcode::READONLY_BUFFER:
        return;

      case Opcode::MARK:
        return stack_.push_mark();
      case Opcode::POP:
        return stack_.pop_value_or_mark();
      case Opcode::POP_MARK:
        return stack_.drop(stack_.take_mark().size());
      case Opcode::DUP:
        return stack_.push(stack_.top());
      case Opcode::PUT:
        if (const auto number = written_number()) memo_.put(*number, stack_.top());
        return;
      case Opcode::BINPUT:
      case Opcode::LONG_BINPUT:
        return memo_.put(now().number, stack_.top());
      case Opcode::MEMOIZE:
        return memo_.append(stack_.top());
      case Opcode::GET:
        return push_memo(written_number());
      case Opcode::BINGET:
      case Opcode::LONG_BINGET:
        return push_memo(now().number);

      // Values that cannot be a part of a name
      case Opcode::NONE:
      case Opcode::NEWTRUE:
      case Opcode::NEWFALSE:
      case Opcode::INT:
      case Opcode::BININT:
      case Opcode::BININT1:
      case Opcode::BININT2:
      case Opcode::LONG:
      case Opcode::LONG1:
      case Opcode::LONG4:
      case Opcode::FLOAT:
      case Opcode::BINFLOAT:
      case Opcode::BINBYTES:
      case Opcode::SHORT_BINBYTES:
      case Opcode::BINBYTES8:
      case Opcode::BYTEARRAY8:
      case Opcode::NEXT_BUFFER:
      case Opcode::EMPTY_TUPLE:
      case Opcode::EMPTY_LIST:
      case Opcode::EMPTY_DICT:
      case Opcode::EMPTY_SET:
        return stack_.push({});

      case Opcode::STRING:
        return stack_.push(texts_.quoted_text(now().text));
      case Opcode::UNICODE:
        return stack_.push(texts_.escaped_text(now().text));
      case Opcode::BINSTRING:
      case Opcode::SHORT_BINSTRING:
      case Opcode::BINUNICODE:
      case Opcode::SHORT_BINUNICODE:
      case Opcode::BINUNICODE8:
        return stack_.push(texts_.text(now().text));

      case Opcode::TUPLE:
        return tuple(stack_.take_mark());
      case Opcode::TUPLE1:
        return tuple(stack_.last(1));
      case Opcode::TUPLE2:
        return tuple(stack_.last(2));
      case Opcode::TUPLE3:
        return tuple(stack_.last(3));
      case Opcode::LIST:
      case Opcode::DICT:
      case Opcode::FROZENSET:
        stack_.drop(stack_.take_mark().size());
        return stack_.push({});
      case Opcode::APPEND:
        return static_cast<void>(stack_.pop());
      case Opcode::SETITEM:
        stack_.pop();
        return static_cast<void>(stack_.pop());
      case Opcode::APPENDS:
      case Opcode::SETITEMS:
      case Opcode::ADDITEMS:
        return stack_.drop(stack_.take_mark().size());

      case Opcode::GLOBAL:
        return stack_.push(global(now().text, now().second_line));
      case Opcode::STACK_GLOBAL:
        return stack_global();
      case Opcode::EXT1:
      case Opcode::EXT2:
      case Opcode::EXT4:
        uses_.add(How::extension, "extension " + std::to_string(now().integer()),
                  Verdict::runs_code);
        return stack_.push({});
      case Opcode::INST:
        return inst();
      case Opcode::OBJ:
        return obj();
      case Opcode::REDUCE: {
        const Known arguments = stack_.pop();
        return call(How::call, stack_.pop(), arguments);
      }
      case Opcode::NEWOBJ_EX:
        stack_.pop();
        [[fallthrough]];
      case Opcode::NEWOBJ:
        stack_.pop();
        return call(How::make, stack_.pop(), {});
      case Opcode::BUILD:
        stack_.pop();
        return uses_.add_set_state(stack_.top());
      case Opcode::PERSID:
        uses_.add(How::persistent_id, "\"" + std::string(now().text.substr(0, 100)) + "\"",
                  Verdict::needs_classes);
        return stack_.push({});
      case Opcode::BINPERSID:
        return persistent(stack_.pop());
    }
  }

  void push_memo(std::optional<std::uint64_t> number) {
    const Known* const found = number ? memo_.find(*number) : nullptr;
    stack_.push(found ? *found : Known{});
  }

  // No pickler writes a number oddly: it makes readers differ on what the memo holds.
  std::optional<std::uint64_t> written_number() {
    const auto number = memo_number(now().text);
    if (!number) uses_.add(How::mention, "a memo entry with an odd number", Verdict::runs_code);
    return number;
  }

  Known global(std::string_view module, std::string_view name) {
    const Known value = texts_.global(module, name);
    uses_.add_use(How::mention, value);
    return value;
  }

  void stack_global() {
    const Known name = stack_.pop(), module = stack_.pop();
    if (name.kind == Kind::text && module.kind == Kind::text)
      return stack_.push(global(texts_[module], texts_[name]));
    uses_.add(How::mention, "a name that is made while loading", Verdict::runs_code);
    stack_.push({});
  }

  void tuple(std::span<const Known> items) {
    const Known made = texts_.tuple(items);
    stack_.drop(items.size());
    stack_.push(made);
  }

  void inst() {
    const Known callable = global(now().text, now().second_line);
    tuple(stack_.take_mark());
    call(How::call, callable, stack_.pop());
  }

  // The callable is the first value above the mark.
  void obj() {
    const auto values = stack_.take_mark();
    const Known callable = values.empty() ? Known{} : values[0];
    const Known arguments = values.empty() ? Known{} : texts_.tuple(values.subspan(1));
    stack_.drop(values.size());
    call(How::call, callable, arguments);
  }

  // getattr(class, "name") gives the name "class.name".
  bool get_attribute(const Known& callable, const Known& arguments) {
    const bool is_attribute =
        arguments.kind == Kind::attribute || arguments.kind == Kind::attribute_of_result;
    if (!is_attribute || texts_.constructor(callable) != Constructor::attribute) return false;
    const GlobalName of(texts_[arguments]);
    if (arguments.kind == Kind::attribute) {
      uses_.add(How::mention, shown(texts_[arguments]),
                judge_attribute(of.module, of.name).verdict);
    } else {
      const bool is_private = of.name.find(".__") != of.name.npos;
      if (is_private || !is_method_of_layer(of.module, of.name)) return false;
      uses_.add(How::mention, shown(texts_[arguments]), Verdict::needs_classes);
    }
    stack_.push({Kind::result, arguments.text});
    return true;
  }

  void call(How how, const Known& callable, const Known& arguments) {
    const bool is_global = callable.kind == Kind::global;
    if (is_global && get_attribute(callable, arguments)) return;
    uses_.add_use(how, callable);
    if (is_global && calls_its_first_argument(texts_.constructor(callable))) {
      const bool is_known =
          arguments.kind == Kind::tuple_of_global || arguments.kind == Kind::attribute;
      uses_.add_use(How::call, is_known ? Known{Kind::global, arguments.text} : Known{});
    }
    const bool is_result = is_global || callable.kind == Kind::result;
    stack_.push(is_result ? Known{Kind::result, callable.text} : Known{});
  }

  void persistent(const Known& id) {
    if (id.kind == Kind::module_id) return stack_.push({Kind::global, id.text});
    const bool is_storage = id.kind == Kind::tuple_of_text && texts_[id] == "storage";
    if (!is_storage)
      uses_.add(How::persistent_id, "an id that is not a storage", Verdict::needs_classes);
    stack_.push({Kind::looked_up, 0});
  }

  OpcodeDecoder decoder_;
  KnownStack stack_;
  PickleMemo<Known> memo_;
  Texts texts_;
  Uses uses_;
};

}  // namespace

PickleScan scan_pickle(std::span<const std::byte> bytes, const std::string& member) {
  return Scanner(bytes, member).run();
}

}  // namespace transload
