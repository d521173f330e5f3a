// Opcodes: Lib/pickletools.py of CPython.
#include "scan/pickle_scan.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>

#include "pickle/globals.h"
#include "pickle/memo.h"

namespace transload {
namespace {

// What is known of a value on the stack.
struct Known {
  enum class Kind : std::uint8_t {
    nothing,
    text,
    global,
    result,
    tuple_of_text,    // that begins with one
    tuple_of_global,  // that begins with one
    attribute,        // a pair of a global, or of what a call of it made, and a text
    attribute_of_result,
    module_id,  // of PyTorch's old stream: ("module", class, file, source)
    looked_up
  } kind = Kind::nothing;
  // Number in texts_: a text; "module\nname" of a global, or of what made a result; what a tuple begins with; of an
  // attribute "module\nname.attribute"; of a module id the class.
  std::uint32_t text = 0;
};

constexpr std::size_t kMaxName = 1000;  // what is longer is no name of anything
constexpr std::size_t kMaxUses = 10'000, kMaxTextNbytes = 64 << 20;

// torch/_tensor.py.
bool calls_its_first_argument(std::string_view global) {
  return global == "torch._tensor\n_rebuild_from_type_v2" ||
         global == "torch.tensor\n_rebuild_from_type_v2" ||
         global == "torch._tensor\n_rebuild_from_type";
}

std::pair<std::string_view, std::string_view> split(std::string_view global) {
  const std::size_t line = global.find('\n');
  return {global.substr(0, line), global.substr(line + 1)};
}

class Scanner {
 public:
  Scanner(std::span<const std::byte> bytes, const std::string& member)
      : bytes_(bytes), member_(member) {}

  PickleScan run() {
    while (found_.broken.empty() && !step()) {
    }
    found_.nbytes = at_;
    return std::move(found_);
  }

 private:
  using Kind = Known::Kind;
  using How = PickleUse::How;

  void broken(const std::string& what) {
    if (found_.broken.empty()) found_.broken = "offset " + std::to_string(opcode_at_) + ": " + what;
  }

  std::string_view take(std::uint64_t nbytes) {
    if (nbytes > bytes_.size() - at_) {
      broken("the pickle ends inside of an opcode");
      at_ = bytes_.size();
      return {};
    }
    const auto* const begin = reinterpret_cast<const char*>(bytes_.data()) + at_;
    at_ += nbytes;
    return {begin, static_cast<std::size_t>(nbytes)};
  }

  std::uint64_t number(std::size_t nbytes) {
    const std::string_view text = take(nbytes);
    std::uint64_t value = 0;
    if (text.size() == nbytes) std::memcpy(&value, text.data(), nbytes);
    return value;
  }

  std::string_view line() {
    const auto* const begin = reinterpret_cast<const char*>(bytes_.data()) + at_;
    const void* const end = std::memchr(begin, '\n', bytes_.size() - at_);
    if (!end) {
      broken("a line that does not end");
      at_ = bytes_.size();
      return {};
    }
    const auto nbytes = static_cast<std::size_t>(static_cast<const char*>(end) - begin);
    at_ += nbytes + 1;
    return {begin, nbytes};
  }

  std::uint32_t keep(std::string text) {
    const auto [at, is_new] =
        numbers_.try_emplace(std::move(text), static_cast<std::uint32_t>(texts_.size()));
    if (!is_new) return at->second;
    texts_.push_back(&at->first);
    text_nbytes_ += at->first.size();
    if (text_nbytes_ > kMaxTextNbytes + bytes_.size())
      broken("more names and texts than a model has");
    return at->second;
  }

  void push(Known value = {}) { stack_.push_back(value); }
  void push_text(std::string_view text) {
    // A name is short; a long text is none, but must not pass for an empty one.
    push({Kind::text, keep(std::string(text.substr(0, kMaxName)))});
  }
  // With escapes it says something else than it reads; no name that a pickler writes has any.
  void push_escaped(std::string_view text) {
    if (text.find('\\') == std::string_view::npos)
      push_text(text);
    else
      push();
  }
  // A loader fails on an empty stack; the opcodes before have run by then.
  Known pop() {
    const std::size_t floor = marks_.empty() ? 0 : marks_.back();
    if (stack_.size() <= floor) {
      broken("takes a value where there is none");
      return {};
    }
    const Known top = stack_.back();
    stack_.pop_back();
    return top;
  }
  Known top() const { return stack_.empty() ? Known{} : stack_.back(); }
  std::size_t mark() {
    if (marks_.empty()) {
      broken("needs a mark, there is none");
      return stack_.size();
    }
    const std::size_t begin = std::min(marks_.back(), stack_.size());
    marks_.pop_back();
    return begin;
  }
  void pop_to_mark() { stack_.resize(mark()); }

  const std::string& text(const Known& value) const { return *texts_[value.text]; }

  static std::string shown(const std::string& global) {
    std::string name = global;
    const std::size_t line = name.find('\n');
    if (line != std::string::npos) name[line] = '.';
    return name;
  }

  void use(How how, const Known& of) {
    const auto known = [&](std::string name, Verdict verdict) {
      add(how, std::move(name), verdict);
    };
    if (of.kind == Kind::global || of.kind == Kind::result) {
      const std::string& global = text(of);
      // An object has a state to set; a class or a module has none that a pickler would.
      if (of.kind == Kind::global && how == How::set_state)
        return known(shown(global) + " itself", Verdict::runs_code);
      if (of.kind == Kind::global || how == How::set_state)
        return known(shown(global), verdict(global, how));
      // The result of a call is called: of what it is nobody knows.
      return known(shown(global) + "()", Verdict::runs_code);
    }
    // What is looked up is a class or a storage, which others use too.
    if (of.kind == Kind::looked_up && how == How::set_state)
      return known("what was looked up, itself", Verdict::runs_code);
    if (how == How::set_state) return;
    // A loader's own persistent_load gives classes too: that of PyTorch's whole modules does.
    if (of.kind == Kind::looked_up) return known("what was looked up", Verdict::needs_classes);
    known("a value that is no name", Verdict::runs_code);
  }

  static Verdict verdict(std::string_view global, How how) {
    const auto [module, name] = split(global);
    return verdict_of(module, name, how);
  }

  void add(How how, std::string name, Verdict verdict) {
    const auto [at, is_new] = seen_.try_emplace({how, name}, found_.uses.size());
    if (!is_new) {
      ++found_.uses[at->second].count;
      return;
    }
    found_.uses.push_back(
        {how, verdict, std::move(name), member_.substr(0, kMaxName), opcode_at_, 1});
    if (found_.uses.size() > kMaxUses) broken("more names than a model uses");
  }

  Known global(std::string_view module, std::string_view name) {
    module = module.substr(0, kMaxName);
    name = name.substr(0, kMaxName);
    return global(std::string(module) + "\n" + std::string(name));
  }
  Known global(std::string both) {
    const Known value{Kind::global, keep(std::move(both))};
    use(How::mention, value);
    return value;
  }

  void call(How how, const Known& callable, const Known& arguments) {
    if (!found_.broken.empty()) return;
    const bool is_global = callable.kind == Kind::global;
    if (is_global && arguments.kind == Kind::attribute) {
      const auto [module, name] = split(text(callable));
      if (is_getattr(module, name)) return push({Kind::result, global(text(arguments)).text});
    }
    // A layer holds a method of its own, as those do whose shapes are not known yet.
    if (is_global && arguments.kind == Kind::attribute_of_result) {
      const auto [module, name] = split(text(callable));
      const auto [of_module, attribute] = split(text(arguments));
      if (is_getattr(module, name) && of_module.starts_with("torch.nn.modules.") &&
          attribute.find(".__") == attribute.npos) {
        add(How::mention, shown(text(arguments)), Verdict::needs_classes);
        return push({Kind::result, arguments.text});
      }
    }
    use(how, callable);
    if (is_global && calls_its_first_argument(text(callable))) {
      const bool is_known =
          arguments.kind == Kind::tuple_of_global || arguments.kind == Kind::attribute;
      use(How::call, is_known ? Known{Kind::global, arguments.text} : Known{});
    }
    if (is_global || callable.kind == Kind::result)
      push({Kind::result, callable.text});
    else
      push();
  }

  void persistent(const Known& id) {
    if (id.kind == Kind::module_id) return push({Kind::global, id.text});
    const bool storage = id.kind == Kind::tuple_of_text && text(id) == "storage";
    if (!storage) add(How::persistent_id, "an id that is no storage", Verdict::needs_classes);
    push({Kind::looked_up, 0});
  }

  // What is known of a tuple of the values from `begin` on.
  Known known_of(std::size_t begin) {
    if (begin >= stack_.size()) return {};
    const Known& first = stack_[begin];
    const bool is_pair = stack_.size() - begin == 2 && stack_.back().kind == Kind::text;
    if (first.kind == Kind::text) {
      const bool is_module = text(first) == "module" && begin + 1 < stack_.size() &&
                             stack_[begin + 1].kind == Kind::global;
      if (is_module) return {Kind::module_id, stack_[begin + 1].text};
      return {Kind::tuple_of_text, first.text};
    }
    if (first.kind == Kind::result && is_pair)
      return {Kind::attribute_of_result, keep(text(first) + "." + text(stack_.back()))};
    if (first.kind != Kind::global) return {};
    if (is_pair) return {Kind::attribute, keep(text(first) + "." + text(stack_.back()))};
    return {Kind::tuple_of_global, first.text};
  }

  void tuple(std::size_t begin) {
    begin = std::min(begin, stack_.size());
    const Known made = known_of(begin);
    stack_.resize(begin);
    push(made);
  }

  // Whether it was STOP.
  bool step() {
    opcode_at_ = at_;
    if (at_ == bytes_.size()) {
      broken("the pickle ends without STOP");
      return false;
    }
    const auto opcode = static_cast<std::uint8_t>(take(1)[0]);
    switch (opcode) {
      case '.':
        if (stack_.empty()) broken("the pickle ends without a value");
        return true;
      case 0x80:
        if (number(1) > 5) broken("a protocol that no Python knows");
        break;
      case 0x95:
        number(8);
        break;
      case '(':
        marks_.push_back(stack_.size());
        break;
      case '0':
        if (!marks_.empty() && stack_.size() == marks_.back())
          marks_.pop_back();
        else
          pop();
        break;
      case '1':
        pop_to_mark();
        break;
      case '2':
        push(top());
        break;
      // Values of which nothing need be known.
      case 'N':
      case 0x88:
      case 0x89:
      case ']':
      case '}':
      case 0x8F:
        push();
        break;
      case ')':
        push();
        break;
      case 'I':
      case 'L':
      case 'F':
        line();
        push();
        break;
      case 'K':
        number(1), push();
        break;
      case 'M':
        number(2), push();
        break;
      case 'J':
        number(4), push();
        break;
      case 'G':
        number(8), push();
        break;
      case 0x8A:
        take(number(1)), push();
        break;
      case 0x8B:
        take(number(4)), push();
        break;
      case 'S': {  // quoted, as Python prints it
        std::string_view quoted = line();
        if (quoted.size() >= 2) quoted = quoted.substr(1, quoted.size() - 2);
        push_escaped(quoted);
        break;
      }
      case 'V':
        push_escaped(line());
        break;
      case 'X':
      case 'T':
        push_text(take(number(4)));
        break;
      case 0x8C:
      case 'U':
        push_text(take(number(1)));
        break;
      case 0x8D:
        push_text(take(number(8)));
        break;
      case 'C':
        take(number(1)), push();
        break;
      case 'B':
        take(number(4)), push();
        break;
      case 0x8E:
      case 0x96:
        take(number(8)), push();
        break;
      case 0x97:
        push();  // NEXT_BUFFER
        break;
      case 0x98:
        break;  // READONLY_BUFFER
      case 't':
        tuple(mark());
        break;
      case 0x85:
      case 0x86:
      case 0x87: {
        const std::size_t count = opcode - 0x84u;
        tuple(stack_.size() < count ? 0 : stack_.size() - count);
        break;
      }
      case 'l':
      case 'd':
      case 0x91:
        pop_to_mark(), push();
        break;
      case 'a':
        pop();
        break;
      case 's':
        pop(), pop();
        break;
      case 'e':
      case 'u':
      case 0x90:
        pop_to_mark();
        break;
      case 'p':
        if (const auto number = written_number()) memo_.put(*number, top());
        break;
      case 'q':
        memo_.put(number(1), top());
        break;
      case 'r':
        memo_.put(number(4), top());
        break;
      case 0x94:
        memo_.append(top());
        break;
      case 'g':
        if (const auto number = written_number())
          get(*number);
        else
          push();
        break;
      case 'h':
        get(number(1));
        break;
      case 'j':
        get(number(4));
        break;
      case 'c': {
        const std::string_view module = line(), name = line();
        if (found_.broken.empty()) push(global(module, name));
        break;
      }
      case 0x93: {
        const Known name = pop(), module = pop();
        if (name.kind == Kind::text && module.kind == Kind::text) {
          push(global(text(module), text(name)));
        } else {
          if (found_.broken.empty())
            add(How::mention, "a name that is made while loading", Verdict::runs_code);
          push();
        }
        break;
      }
      case 'i': {
        const std::string_view module = line(), last = line();
        if (!found_.broken.empty()) break;
        const Known name = global(module, last);
        const std::size_t begin = mark();
        const Known arguments = known_of(begin);
        stack_.resize(begin);
        call(How::call, name, arguments);
        break;
      }
      case 'o': {
        const std::size_t begin = mark();
        const Known callable = begin < stack_.size() ? stack_[begin] : Known{};
        const Known arguments = known_of(begin + 1);
        stack_.resize(begin);
        call(How::call, callable, arguments);
        break;
      }
      case 'R': {
        const Known arguments = pop();
        call(How::call, pop(), arguments);
        break;
      }
      case 0x81:
        pop();
        call(How::make, pop(), {});
        break;
      case 0x92:
        pop(), pop();
        call(How::make, pop(), {});
        break;
      case 'b':
        pop();
        if (found_.broken.empty()) use(How::set_state, top());
        break;
      case 'P':
        add(How::persistent_id, "\"" + std::string(line().substr(0, 100)) + "\"",
            Verdict::needs_classes);
        push();
        break;
      case 'Q': {
        const Known id = pop();
        if (found_.broken.empty()) persistent(id);
        break;
      }
      case 0x82:
      case 0x83:
      case 0x84: {
        const std::uint64_t code = number(std::size_t{1} << (opcode - 0x82));
        add(How::extension, "extension " + std::to_string(code), Verdict::runs_code);
        push();
        break;
      }
      default:
        broken("byte " + std::to_string(opcode) + ", which is no opcode");
    }
    return false;
  }

  void get(std::uint64_t number) {
    const Known* const found = memo_.find(number);
    push(found ? *found : Known{});
  }

  // The number of a memo entry, in digits. What Python takes for one besides, as "+1" and "0_1", no pickler writes: it makes
  // readers differ on what the memo holds.
  std::optional<std::uint64_t> written_number() {
    const std::string_view digits = line();
    if (!found_.broken.empty()) return std::nullopt;
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error == std::errc() && std::to_string(value) == digits) return value;
    const bool may_be_one = digits.find_first_of("0123456789") != digits.npos &&
                            digits.find_first_not_of("0123456789+-_ \t\r\v\f") == digits.npos;
    if (may_be_one)
      add(How::mention, "a memo entry with an odd number", Verdict::runs_code);
    else
      broken("a memo number that is none");
    return std::nullopt;
  }

  std::span<const std::byte> bytes_;
  const std::string& member_;
  std::size_t at_ = 0, opcode_at_ = 0;
  std::vector<Known> stack_;
  std::vector<std::size_t> marks_;
  PickleMemo<Known> memo_;
  std::map<std::string, std::uint32_t> numbers_;
  std::vector<const std::string*> texts_;
  std::size_t text_nbytes_ = 0;
  std::map<std::pair<How, std::string>, std::size_t> seen_;
  PickleScan found_;
};

}  // namespace

PickleScan scan_pickle(std::span<const std::byte> bytes, const std::string& member) {
  return Scanner(bytes, member).run();
}

}  // namespace transload
