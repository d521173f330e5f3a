// Facts: CPython, Lib/pickle.py, _Unpickler; torch/_tensor.py; torch/serialization.py, _legacy_load, for module ids.
#include "scan/pickle_scan.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "pickle/globals.h"
#include "pickle/memo.h"
#include "pickle/opcodes.h"
#include "pickle/words.h"
#include "scan/pickle_uses.h"

namespace transload {
namespace {

using How = PickleUse::How;

constexpr std::size_t kMaxTextNbytes = 64 << 20;
constexpr int kMostPicklesInPickles = 4;  // arrays of objects in arrays of objects, of joblib

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

// A persistent id may be any bytes.
std::string quoted_id(std::string_view id) {
  std::string text(id.substr(0, 100));
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return "\"" + text + "\"";
}

// As whom the walk reads the pickle.
enum class Reader : std::uint8_t {
  pickle,
  joblib  // skips the elements behind each NumpyArrayWrapper
};

// The number of bytes that S, U and V dtypes state a second time.
bool has_size(const DtypeCode& code, const Known& item) {
  return !code.has_own_size() || code.nbytes == 0 || item.kind != Known::Kind::integer ||
         item.text == code.nbytes;
}

class Scanner {
 public:
  Scanner(std::span<const std::byte> bytes, const std::string& member, Reader reader, int depth = 0)
      : bytes_(bytes),
        member_(member),
        reader_(reader),
        depth_(depth),
        decoder_(bytes),
        texts_(kMaxTextNbytes + bytes.size()),
        uses_(texts_, member) {}

  PickleScan run() {
    PickleScan found;
    try {
      while (decoder_.next() && now().opcode != Opcode::STOP) {
        uses_.set_offset(now().offset);
        execute();
        last_ = now().opcode;
      }
      found.broken = decoder_.error();
      if (found.broken.empty() && stack_.is_empty())
        found.broken = "the pickle ends without a value";
      uses_.give_away(stack_.top());
    } catch (const Broken& error) {
      found.broken = "opcode " + std::string(name(now().opcode)) + " " + error.why;
      found.gave_up = error.is_limit;
    }
    if (!found.broken.empty())
      found.broken = "offset " + std::to_string(now().offset) + ": " + found.broken;
    found.uses = uses_.take();
    found.nbytes = decoder_.end_offset();
    found.has_arrays = has_arrays_;
    return found;
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
      case Opcode::READONLY_BUFFER:
        return;
      case Opcode::FRAME:
        frame_end_ = decoder_.end_offset() + std::min<std::uint64_t>(now().number, bytes_.size());
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

      case Opcode::NONE:
        return stack_.push({Kind::none});
      case Opcode::INT:
      case Opcode::LONG:
        return stack_.push(written_integer());
      case Opcode::BININT:
      case Opcode::BININT1:
      case Opcode::BININT2:
        return stack_.push(integer(now().integer()));
      case Opcode::EMPTY_TUPLE:
        return stack_.push(texts_.tuple({}));
      case Opcode::EMPTY_DICT:
        filled_dicts_.push_back(false);
        return stack_.push(
            {Kind::dict, false, static_cast<std::uint32_t>(filled_dicts_.size() - 1)});

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
        return set_items(stack_.last(2));
      case Opcode::SETITEMS:
        return set_items(stack_.take_mark());

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
        uses_.give_away(stack_.pop());
        [[fallthrough]];
      case Opcode::NEWOBJ: {
        const Known arguments = stack_.pop();
        return call(How::make, stack_.pop(), arguments);
      }
      case Opcode::BUILD:
        return build(stack_.pop());
      case Opcode::PERSID:
        uses_.add(How::persistent_id, quoted_id(now().text), Verdict::needs_classes);
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
    uses_.add_mention(value);
    return value;
  }

  void stack_global() {
    const Known name = stack_.pop(), module = stack_.pop();
    if (name.kind == Kind::text && module.kind == Kind::text)
      return stack_.push(global(texts_[module], texts_[name]));
    uses_.add(How::mention, "a name that is made while loading", Verdict::runs_code);
    stack_.push({});
  }

  // What a tuple holds is judged when the tuple is used: as arguments, or as a part of another value.
  void tuple(std::span<const Known> items) {
    for (const Known& item : items) {
      if (item.kind == Kind::tuple) uses_.give_away(item);
    }
    if (items.size() > kMaxTupleItems) uses_.give_away(items.subspan(kMaxTupleItems));
    const Known made = texts_.tuple(items);
    stack_.drop(items.size());
    stack_.push(made);
  }

  void take_items() {
    const auto items = stack_.take_mark();
    uses_.give_away(items);
    stack_.drop(items.size());
  }

  Known integer(std::int64_t value) const {
    if (value < 0 || value > ~std::uint32_t{}) return {};
    return {Kind::integer, false, static_cast<std::uint32_t>(value)};
  }
  Known written_integer() const {
    std::uint32_t value = 0;
    std::string_view text = now().text;
    if (text.ends_with('L')) text.remove_suffix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool is_all = error == std::errc() && end == text.data() + text.size();
    return is_all ? Known{Kind::integer, false, value} : Known{};
  }

  // Keys and values one after the other.
  void set_items(std::span<const Known> items) {
    if (now().opcode == Opcode::SETITEM && items.size() < 2)
      throw Broken{"needs a value, but the stack has none"};
    uses_.give_away(items);
    const bool is_array = std::ranges::any_of(items, [&](const Known& item) {
      return item.kind == Kind::text && texts_[item] == "shape";
    });
    const Known filled = is_array ? texts_.array_state(array_state(items)) : Known{};
    const auto contents = contents_of(items);
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

  // Of the fields of a dtype: {name: (dtype, offset)}.
  DictContents contents_of(std::span<const Known> items) const {
    for (const Known& item : items) {
      if (item.kind == Kind::text) continue;
      const auto field = texts_.items(item);
      if (field.empty() || !is_dtype(field[0])) return DictContents::unknown;
      const DtypeCode code(texts_.code_of_dtype(field[0]));
      if (!code.is_simple() && code.letter != 'V') return DictContents::with_objects;
    }
    return DictContents::without_objects;
  }

  ArrayState array_state(std::span<const Known> items) {
    ArrayState state;
    std::optional<std::uint64_t> count, itemsize;
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      if (items[i].kind != Kind::text) continue;
      const std::string& key = texts_[items[i]];
      const Known& value = items[i + 1];
      if (key == "shape") count = number_of_elements(value);
      if (key == "numpy_array_alignment_bytes") state.is_padded = value.kind != Kind::none;
      if (key != "dtype" || !is_dtype(value)) continue;
      const DtypeCode code(texts_.code_of_dtype(value));
      state.is_of_objects = code.is_of_objects();
      if (code.letter != '\0') itemsize = code.nbytes;
    }
    if (count && itemsize && *itemsize > 0) state.nbytes = *count * *itemsize;
    return state;
  }

  std::optional<std::uint64_t> number_of_elements(const Known& shape) const {
    if (shape.kind != Kind::tuple) return std::nullopt;
    const auto items = texts_.items(shape);
    if (items.size() == kMaxTupleItems) return std::nullopt;  // there may be more
    std::uint64_t count = 1;
    for (const Known& item : items) {
      if (item.kind != Kind::integer) return std::nullopt;
      count *= item.text;
      if (count > bytes_.size()) return std::nullopt;
    }
    return count;
  }

  bool is_dtype(const Known& value) const { return value.kind == Kind::result && value.more != 0; }

  void inst() {
    const Known callable = global(now().text, now().second_line);
    tuple(stack_.take_mark());
    call(How::call, callable, stack_.pop());
  }

  // The callable is the first value above the mark.
  void obj() {
    const auto values = stack_.take_mark();
    const Known callable = values.empty() ? Known{} : values[0];
    for (const Known& value : values) {
      if (value.kind == Kind::tuple) uses_.give_away(value);
    }
    const Known arguments = values.empty() ? Known{} : texts_.tuple(values.subspan(1));
    stack_.drop(values.size());
    call(How::call, callable, arguments);
  }

  // getattr(class, "name") gives the name "class.name". Returns false if it is given anything else than a class or a layer:
  // it may then give a function of anything.
  bool get_attribute(const Known& callable, const Known& arguments) {
    const auto pair = texts_.items(arguments);
    const bool is_attribute = pair.size() == 2 && pair[1].kind == Kind::text &&
                              (pair[0].kind == Kind::global || pair[0].kind == Kind::result);
    if (!is_attribute || texts_.about(callable).constructor != Constructor::attribute) return false;
    const Known made = texts_.attribute(pair[0], pair[1]);
    const GlobalName of(texts_[made]);
    if (pair[0].kind == Kind::global) {
      uses_.add(How::mention, shown(texts_[made]), judge_attribute(of.module, of.name).verdict);
    } else {
      if (!is_method_of_layer(of.module, texts_[pair[1]])) return false;
      uses_.add(How::mention, shown(texts_[made]), Verdict::needs_classes);
    }
    stack_.push(made);
    return true;
  }

  void call(How how, const Known& callable, const Known& arguments) {
    const bool is_global = callable.kind == Kind::global;
    if (is_global && how == How::call && get_attribute(callable, arguments)) return;
    uses_.add_use(how, callable);
    Known made;
    if (is_global || callable.kind == Kind::result || callable.kind == Kind::attribute)
      made = {Kind::result, false, callable.text};
    if (is_global) {
      const AboutGlobal& about = texts_.about(callable);
      made = judge_arguments(how, about, callable, arguments, made);
      if (about.is_dtype) {
        const auto items = texts_.items(arguments);
        made = texts_.dtype(callable, items.empty() ? Known{} : code_of(items[0]));
      }
    } else {
      uses_.give_away(arguments);
    }
    stack_.push(made);
  }

  // Judges what a call does with its arguments. Returns what it makes.
  Known judge_arguments(How how, const AboutGlobal& about, const Known& callable,
                        const Known& arguments, Known made) {
    const auto items = texts_.items(arguments);
    const std::string name = shown(texts_[callable]);
    if (calls_its_first_argument(about.constructor)) {
      uses_.add_use(How::call, items.empty() ? Known{} : only_global(items[0]));
    } else if (about.constructor == Constructor::partial) {
      judge_partial(name, items);
    } else if (about.constructor == Constructor::new_object) {
      return judge_new_object(name, items, arguments, made);
    } else if (about.kind == GlobalKind::from_arguments) {
      judge_maker(name, items);
    } else if (about.is_scalar) {
      const bool is_simple =
          items.size() == 2 && is_dtype(items[0]) && is_without_pointers(items[0]);
      if (!is_simple)
        uses_.add(How::call, name + " of a dtype that may hold pointers", Verdict::runs_code);
    } else if (about.kind == GlobalKind::needed_class ||
               about.kind == GlobalKind::unknown_function) {
      judge_class(how, name, items, arguments);
    }
    uses_.give_away(arguments);
    return made;
  }

  // numpy.record is a structure; its size comes with its state.
  Known code_of(const Known& argument) {
    if (argument.kind != Kind::global) return argument;
    const std::string& name = texts_[argument];
    return name == "numpy\nrecord" || name == "numpy.rec\nrecord" ? texts_.text("V0") : Known{};
  }

  static Known only_global(const Known& value) {
    return value.kind == Kind::global ? value : Known{};
  }

  bool is_without_pointers(const Known& dtype) const {
    const DtypeCode code(texts_.code_of_dtype(dtype));
    return code.is_simple() || (code.letter == 'V' && !has_object_fields_);
  }

  void judge_partial(const std::string& name, std::span<const Known> items) {
    if (items.empty() || items[0].kind != Kind::global)
      return uses_.add(How::call, name, Verdict::runs_code);
    const GlobalName of(texts_[items[0]]);
    uses_.add(How::mention, shown(texts_[items[0]]), judge_wrapped(of.module, of.name).verdict);
  }

  // copyreg._reconstructor(class, base, state), __newobj__(class, …): base.__new__(class, state).
  Known judge_new_object(const std::string& name, std::span<const Known> items,
                         const Known& arguments, Known made) {
    const bool is_of_base =
        name.ends_with("__newobj__") || (items.size() == 3 && is_builtin_base(items[1]));
    if (items.empty() || items[0].kind != Kind::global || !is_of_base) {
      uses_.add(How::call, name + " of what is not a class", Verdict::runs_code);
      uses_.give_away(arguments);
      return made;
    }
    uses_.add_use(How::make, items[0]);
    uses_.give_away(items.subspan(1));
    return {Kind::result, false, items[0].text};
  }

  bool is_builtin_base(const Known& value) const {
    if (value.kind != Kind::global) return false;
    const GlobalName of(texts_[value]);
    constexpr std::string_view kBases =
        "object dict list tuple set frozenset int long float complex str unicode bytes bytearray";
    return (of.module == "builtins" || of.module == "__builtin__") && has_word(kBases, of.name);
  }

  // Makers of NumPy's values: a class or function among the arguments is called.
  void judge_maker(const std::string& name, std::span<const Known> items) {
    for (const Known& item : items) {
      if (item.kind == Kind::global) uses_.add_use(How::call, item);
      const bool is_computed = item.kind == Kind::attribute || item.kind == Kind::looked_up ||
                               (item.kind == Kind::result && !is_of_numpy_or_torch(item));
      if (is_computed)
        uses_.add(How::call, name + " of what another call made", Verdict::runs_code);
    }
  }

  bool is_of_numpy_or_torch(const Known& result) const {
    const std::string& of = texts_[result];
    return of.starts_with("numpy") || of.starts_with("torch") || of.starts_with("_codecs\n") ||
           of.starts_with("collections\n");
  }

  // A class that is not known may do anything with what it is given.
  void judge_class(How how, const std::string& name, std::span<const Known> items,
                   const Known& arguments) {
    if (arguments.has_resource)
      uses_.add(how, name + " with a path, URL or command", Verdict::runs_code);
    const bool has_callable =
        how == How::call && std::ranges::any_of(items, [&](const Known& item) {
          if (item.kind == Kind::attribute) return true;
          if (item.kind != Kind::global) return false;
          const GlobalKind kind = texts_.about(item).kind;
          return kind != GlobalKind::plain_data && kind != GlobalKind::data_type &&
                 kind != GlobalKind::made_by_reader;
        });
    if (has_callable) uses_.add(how, name + " with something to call", Verdict::runs_code);
  }

  void build(const Known& state) {
    const Known target = stack_.top();
    uses_.add_set_state(target);
    uses_.give_away(state);
    if (target.kind != Kind::result) return;
    if (is_dtype(target)) return judge_dtype_state(target, state);
    const AboutGlobal& about = texts_.about(target);
    if (about.constructor == Constructor::partial)
      judge_partial(shown(texts_[target]), texts_.items(state));
    if (about.is_wrapper) skip_array(state);
  }

  // dtype.__setstate__ believes what it is given: with other flags the elements of an array are pointers.
  // (version, order, subdtype, names, fields, size, alignment, flags, …)
  void judge_dtype_state(const Known& dtype, const Known& state) {
    const auto items = texts_.items(state);
    const DtypeCode code(texts_.code_of_dtype(dtype));
    const bool has_flags = items.size() == kMaxTupleItems && items[7].kind == Kind::integer;
    const std::uint32_t flags = has_flags ? items[7].text : 0;
    constexpr std::uint32_t kObjectFlags = 7, kAllFlags = 63;  // NPY_OBJECT_DTYPE_FLAGS
    bool is_right = has_flags && code.letter != '\0' && has_size(code, items[5]);
    if (code.is_of_objects()) {
      is_right = is_right && flags == kAllFlags;
    } else if (is_right && (flags & kObjectFlags) != 0) {
      is_right = code.letter == 'V' && (flags & 3) == 3;
      has_object_fields_ = true;
    } else if (is_right) {
      const bool has_fields = items[4].kind != Kind::none;
      const auto contents = static_cast<DictContents>(items[4].more);
      is_right = items[2].kind != Kind::tuple || is_array_of_numbers(items[2]);
      if (has_fields)
        is_right = is_right && items[4].kind == Kind::dict &&
                   contents == DictContents::without_objects && !has_object_fields_;
    }
    if (!is_right)
      uses_.add(How::set_state, shown(texts_[dtype]) + " with a state that may hold pointers",
                Verdict::runs_code);
  }

  // (dtype, shape): of a field that is an array.
  bool is_array_of_numbers(const Known& subdtype) const {
    const auto items = texts_.items(subdtype);
    return items.size() == 2 && is_dtype(items[0]) &&
           DtypeCode(texts_.code_of_dtype(items[0])).is_simple();
  }

  // joblib reads the elements from the file, behind the frame that its unpickler has read.
  void skip_array(const Known& state) {
    has_arrays_ = true;
    if (reader_ == Reader::pickle) return;
    stack_.replace_top({});
    const bool is_direct =
        state.kind == Kind::array_state && (last_ == Opcode::SETITEMS || last_ == Opcode::SETITEM);
    if (!is_direct || decoder_.end_offset() < frame_end_)
      throw Broken{"has an array of joblib whose place cannot be told", true};
    const ArrayState& array = texts_.state(state);
    if (array.is_of_objects) return scan_inner_pickle();
    if (!array.nbytes) throw Broken{"has an array of joblib whose length cannot be told", true};
    std::uint64_t nbytes = *array.nbytes;
    if (array.is_padded && decoder_.end_offset() < bytes_.size())
      nbytes += 1 + static_cast<std::uint64_t>(bytes_[decoder_.end_offset()]);
    if (!decoder_.skip(nbytes)) throw Broken{"is followed by an array that is cut short"};
  }

  void scan_inner_pickle() {
    if (depth_ >= kMostPicklesInPickles)
      throw Broken{"has arrays of objects nested too deep", true};
    const std::size_t begin = decoder_.end_offset();
    const PickleScan inner =
        Scanner(bytes_.subspan(begin), member_, Reader::pickle, depth_ + 1).run();
    for (const PickleUse& use : inner.uses) {
      uses_.set_offset(begin + use.offset);
      uses_.add(use.how, use.name, use.verdict);
    }
    if (!inner.broken.empty()) throw Broken{"has an array of objects: " + inner.broken, true};
    decoder_.skip(inner.nbytes);
  }

  void persistent(const Known& id) {
    uses_.give_away(id);
    const auto items = texts_.items(id);
    // PyTorch's old stream: ("module", class, file, source) gives the class.
    if (items.size() > 1 && items[0].kind == Kind::text && texts_[items[0]] == "module")
      return stack_.push(items[1]);
    if (id.kind != Kind::storage_id)
      uses_.add(How::persistent_id, "an id that is not a storage", Verdict::needs_classes);
    stack_.push({Kind::looked_up});
  }

  const std::span<const std::byte> bytes_;
  const std::string& member_;
  const Reader reader_;
  const int depth_;
  OpcodeDecoder decoder_;
  KnownStack stack_;
  PickleMemo<Known> memo_;
  Texts texts_;
  PickleUses uses_;
  std::vector<bool> filled_dicts_;  // by the number of the EMPTY_DICT
  Opcode last_ = Opcode::STOP;
  std::uint64_t frame_end_ = 0;
  bool has_arrays_ = false;
  bool has_object_fields_ = false;  // a dtype has fields of objects
};

}  // namespace

PickleScan scan_pickle(std::span<const std::byte> bytes, const std::string& member) {
  PickleScan as_pickle = Scanner(bytes, member, Reader::pickle).run();
  if (!as_pickle.has_arrays) return as_pickle;
  // joblib skips the elements of arrays, Python's unpickler takes them for opcodes: what either would run counts.
  PickleScan as_joblib = Scanner(bytes, member, Reader::joblib).run();
  for (PickleUse& use : as_pickle.uses) {
    const auto is_it = [&](const PickleUse& other) {
      return other.how == use.how && other.name == use.name;
    };
    if (use.verdict == Verdict::runs_code && std::ranges::none_of(as_joblib.uses, is_it))
      as_joblib.uses.push_back(std::move(use));
  }
  return as_joblib;
}

}  // namespace transload
