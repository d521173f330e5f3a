// Opcodes: Lib/pickletools.py of CPython. Which of them occur, and which are refused: docs/formats/torch_zip.md.
#include "pickle/reader.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "pickle/memo.h"
#include "transload/error.h"
#include "types/utf8.h"

namespace transload {
namespace {

constexpr std::size_t kMaxName = 1000;
constexpr std::uint64_t kLeastMemory = 64 << 20, kMemoryPerByte = 32;  // models take six

class Machine {
 public:
  Machine(std::span<const std::byte> bytes, NodeTable& nodes, PickleObjects& objects,
          const std::string& where)
      : bytes_(bytes),
        nodes_(nodes),
        objects_(objects),
        where_(where),
        most_nbytes_(kLeastMemory + kMemoryPerByte * bytes.size()) {}

  ReadPickle run() {
    try {
      while (!step(take<std::uint8_t>())) {
      }
      const NodeId root = pop();
      if (!stack_.empty() || !marks_.empty()) {
        fail(std::to_string(stack_.size()) + " more values are left where the pickle ends");
      }
      return {root, at_};
    } catch (UnsafePickleError&) {
      throw;
    } catch (FormatError& error) {
      if (std::string_view(error.what()).starts_with(where_)) throw;
      throw FormatError(where_ + ": offset " + std::to_string(opcode_at_) + ": " + error.what());
    }
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(where_ + ": offset " + std::to_string(opcode_at_) + ": " + what);
  }

  std::string_view take_text(std::uint64_t nbytes) {
    if (nbytes > bytes_.size() - at_) {
      fail("needs " + std::to_string(nbytes) + " bytes, the pickle has " +
           std::to_string(bytes_.size() - at_) + " left");
    }
    const auto* begin = reinterpret_cast<const char*>(bytes_.data()) + at_;
    at_ += nbytes;
    return {begin, static_cast<std::size_t>(nbytes)};
  }

  template <class Number>
  Number take() {
    Number value;
    std::memcpy(&value, take_text(sizeof value).data(),
                sizeof value);  // little-endian, as what we run on
    return value;
  }

  std::string_view take_line() {
    const auto* begin = reinterpret_cast<const char*>(bytes_.data()) + at_;
    const void* end = std::memchr(begin, '\n', bytes_.size() - at_);
    if (!end) fail("a line that does not end");
    const std::string_view line(begin,
                                static_cast<std::size_t>(static_cast<const char*>(end) - begin));
    at_ += line.size() + 1;
    return line;
  }

  NodeId pop() {
    if (stack_.size() <= floor()) fail("takes a value where there is none");
    const NodeId top = stack_.back();
    stack_.pop_back();
    return top;
  }

  NodeId top() const {
    if (stack_.size() <= floor()) fail("needs a value where there is none");
    return stack_.back();
  }

  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  void push(NodeId node) { stack_.push_back(node); }

  // The values above the last mark; the mark goes.
  std::span<const NodeId> above_mark() {
    if (marks_.empty()) fail("needs a mark, there is none");
    const std::size_t begin = marks_.back();
    marks_.pop_back();
    return std::span(stack_).subspan(begin);
  }

  void sequence_above_mark(ValueKind kind) {
    const auto items = above_mark();
    const NodeId made = nodes_.sequence(kind, items);
    stack_.resize(stack_.size() - items.size());
    push(made);
  }

  void sequence_of_last(std::size_t count) {
    if (stack_.size() - floor() < count) fail("a tuple of more values than there are");
    const NodeId made = nodes_.sequence(ValueKind::tuple, std::span(stack_).last(count));
    stack_.resize(stack_.size() - count);
    push(made);
  }

  void append(NodeId list, std::span<const NodeId> items) {
    const ValueKind kind = nodes_.kind(list);
    if (kind != ValueKind::list && kind != ValueKind::object) {
      fail("appends to a value of kind " + std::string(name(kind)) +
           ", only a list can be appended to");
    }
    nodes_.append(list, items);
  }

  void set_items(NodeId dict, std::span<const NodeId> pairs) {
    const ValueKind kind = nodes_.kind(dict);
    if (kind != ValueKind::dict && kind != ValueKind::ordered_dict && kind != ValueKind::object) {
      fail("sets an item of a value of kind " + std::string(name(kind)) +
           ", only a dict has items to set");
    }
    if (pairs.size() % 2) fail("a key without a value");
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      if (!nodes_.can_be_key(pairs[i])) {
        fail("a value of kind " + std::string(name(nodes_.kind(pairs[i]))) +
             " as a key, or a key of too many parts, or one that may equal others (as 1+0j)");
      }
      nodes_.set(dict, pairs[i], pairs[i + 1]);
    }
  }

  NodeId get(std::uint64_t number) const {
    const NodeId* const found = memo_.find(number);
    if (!found) fail("reads memo " + std::to_string(number) + ", which was never stored");
    return *found;
  }

  NodeId text(std::string_view bytes) {
    if (!is_python_utf8(bytes)) fail("a text that is not UTF-8");
    return nodes_.text(bytes);
  }

  NodeId long_integer(std::uint64_t nbytes) {
    const std::string_view digits = take_text(nbytes);
    return nodes_.big_integer(std::as_bytes(std::span(digits)));
  }

  void call(Made made) {
    NodeId arguments = pop();
    const NodeId callable = pop();
    if (nodes_.kind(arguments) != ValueKind::tuple) {
      fail("calls with a value of kind " + std::string(name(nodes_.kind(arguments))) +
           ", only a tuple can be arguments");
    }
    push(objects_.call(callable, arguments, made));
    check_memory();
  }

  // A call takes a few bytes, and can copy what was made before: a set of the items of a list, time and again.
  void check_memory() const {
    if (nodes_.nbytes() > most_nbytes_) {
      fail("values that take more than " + std::to_string(most_nbytes_) +
           " bytes of memory, from " + std::to_string(bytes_.size()) + " bytes of pickle");
    }
  }

  void push_global(std::string_view module, std::string_view global_name) {
    if (module.size() > kMaxName || global_name.size() > kMaxName)
      fail("a class or function with a name of more than " + std::to_string(kMaxName) + " bytes");
    if (!is_python_utf8(module) || !is_python_utf8(global_name))
      fail("a class or function whose name is not UTF-8");
    if (module.find('\n') != std::string_view::npos ||
        global_name.find('\n') != std::string_view::npos)
      fail("a class or function with a line break in its name");
    push(objects_.global(std::string(module), std::string(global_name)));
    check_memory();
  }

  // Whether it was STOP.
  bool step(std::uint8_t opcode) {
    opcode_at_ = at_ - 1;
    switch (opcode) {
      case 0x80:  // PROTO
        if (const auto protocol = take<std::uint8_t>(); protocol > 5) {
          fail("pickle protocol " + std::to_string(protocol) + ", at most 5 is known");
        }
        return false;
      case 0x95:
        take<std::uint64_t>();
        return false;  // FRAME: its length says nothing that is needed
      case '.':
        return true;
      case '(':
        marks_.push_back(stack_.size());
        return false;
      case '0':  // POP; on a mark it takes the mark
        if (!marks_.empty() && stack_.size() == marks_.back()) {
          marks_.pop_back();
        } else {
          pop();
        }
        return false;
      case '1':
        stack_.resize(stack_.size() - above_mark().size());
        return false;  // POP_MARK
      case '2':
        push(top());
        return false;  // DUP

      case 'N':
        push(nodes_.none());
        return false;
      case 0x88:
        push(nodes_.boolean(true));
        return false;
      case 0x89:
        push(nodes_.boolean(false));
        return false;
      case 'K':
        push(nodes_.integer(take<std::uint8_t>()));
        return false;
      case 'M':
        push(nodes_.integer(take<std::uint16_t>()));
        return false;
      case 'J':
        push(nodes_.integer(take<std::int32_t>()));
        return false;
      case 0x8A:
        push(long_integer(take<std::uint8_t>()));
        return false;
      case 0x8B: {
        const auto nbytes = take<std::int32_t>();
        if (nbytes < 0) fail("an integer of a negative number of bytes");
        push(long_integer(static_cast<std::uint64_t>(nbytes)));
        return false;
      }
      case 'G': {  // the one number that is big-endian
        push(nodes_.real(std::bit_cast<double>(__builtin_bswap64(take<std::uint64_t>()))));
        return false;
      }
      case 'X':
        push(text(take_text(take<std::uint32_t>())));
        return false;
      case 0x8C:
        push(text(take_text(take<std::uint8_t>())));
        return false;
      case 0x8D:
        push(text(take_text(take<std::uint64_t>())));
        return false;
      case 'U':
        push(text(take_text(take<std::uint8_t>())));
        return false;  // Python 2's str
      case 'T': {
        const auto nbytes = take<std::int32_t>();
        if (nbytes < 0) fail("a text of a negative number of bytes");
        push(text(take_text(static_cast<std::uint64_t>(nbytes))));
        return false;
      }
      case 'C':
        push(nodes_.bytes(take_text(take<std::uint8_t>())));
        return false;
      case 'B':
        push(nodes_.bytes(take_text(take<std::uint32_t>())));
        return false;
      case 0x8E:
        push(nodes_.bytes(take_text(take<std::uint64_t>())));
        return false;
      case 0x96:
        push(nodes_.bytearray(take_text(take<std::uint64_t>())));
        return false;

      case ')':
        push(nodes_.container(ValueKind::tuple));
        return false;
      case 0x85:
        sequence_of_last(1);
        return false;
      case 0x86:
        sequence_of_last(2);
        return false;
      case 0x87:
        sequence_of_last(3);
        return false;
      case 't':
        sequence_above_mark(ValueKind::tuple);
        return false;
      case ']':
        push(nodes_.container(ValueKind::list));
        return false;
      case 'l':
        sequence_above_mark(ValueKind::list);
        return false;
      case 'a': {
        const NodeId item = pop();
        append(top(), {&item, 1});
        return false;
      }
      case 'e': {
        const auto items = above_mark();
        const std::vector<NodeId> kept(items.begin(), items.end());
        stack_.resize(stack_.size() - kept.size());
        append(top(), kept);
        return false;
      }
      case '}':
        push(nodes_.container(ValueKind::dict));
        return false;
      case 'd': {
        const auto items = above_mark();
        const NodeId made = nodes_.container(ValueKind::dict);
        set_items(made, items);
        stack_.resize(stack_.size() - items.size());
        push(made);
        return false;
      }
      case 's': {
        const NodeId value = pop(), key = pop();
        const NodeId pair[] = {key, value};
        set_items(top(), pair);
        return false;
      }
      case 'u': {
        const auto items = above_mark();
        const std::size_t count = items.size();
        if (stack_.size() - count <= floor()) fail("sets items of nothing");
        set_items(stack_[stack_.size() - count - 1], items);
        stack_.resize(stack_.size() - count);
        return false;
      }
      case 0x8F:
        push(nodes_.container(ValueKind::set));
        return false;
      case 0x90: {
        const auto items = above_mark();
        const std::vector<NodeId> kept(items.begin(), items.end());
        stack_.resize(stack_.size() - kept.size());
        if (nodes_.kind(top()) != ValueKind::set) fail("adds items to what is no set");
        nodes_.append(top(), kept);
        return false;
      }
      case 0x91:
        sequence_above_mark(ValueKind::frozenset);
        return false;

      case 'q':
        memo_.put(take<std::uint8_t>(), top());
        return false;
      case 'r':
        memo_.put(take<std::uint32_t>(), top());
        return false;
      case 0x94:
        memo_.append(top());
        return false;  // MEMOIZE
      case 'h':
        push(get(take<std::uint8_t>()));
        return false;
      case 'j':
        push(get(take<std::uint32_t>()));
        return false;

      case 'c': {
        const std::string_view module = take_line();
        push_global(module, take_line());
        return false;
      }
      case 0x93: {  // STACK_GLOBAL
        const NodeId global_name = pop(), module = pop();
        if (nodes_.kind(global_name) != ValueKind::text || nodes_.kind(module) != ValueKind::text) {
          fail("a class or function whose name is no text");
        }
        push_global(nodes_.as_text(module), nodes_.as_text(global_name));
        return false;
      }
      case 'R':
        call(Made::by_call);
        return false;
      case 0x81:
        call(Made::by_new);
        return false;
      case 0x92: {  // NEWOBJ_EX: keyword arguments on top
        const NodeId keywords = pop(), arguments = pop(), callable = pop();
        const NodeId both[] = {arguments, keywords};
        push(objects_.call(callable, nodes_.sequence(ValueKind::tuple, both),
                           Made::by_new_with_keywords));
        return false;
      }
      case 'b': {
        const NodeId state = pop();
        objects_.build(top(), state);
        return false;
      }
      case 'Q':
        push(objects_.persistent(pop()));
        return false;
      default:
        break;
    }
    constexpr std::string_view hex = "0123456789abcdef";
    if (std::string_view("ILFSVPiopg").find(static_cast<char>(opcode)) != std::string_view::npos)
      fail("pickle protocol 0 or 1, which is not read; save it again with protocol 2");
    fail(std::string("opcode 0x") + hex[opcode >> 4] + hex[opcode & 15] +
         ", which no checkpoint of PyTorch has");
  }

  std::span<const std::byte> bytes_;
  NodeTable& nodes_;
  PickleObjects& objects_;
  const std::string& where_;
  const std::uint64_t most_nbytes_;
  std::size_t at_ = 0, opcode_at_ = 0;
  std::vector<NodeId> stack_;
  std::vector<std::size_t> marks_;
  PickleMemo<NodeId> memo_;
};

}  // namespace

ReadPickle read_pickle(std::span<const std::byte> bytes, NodeTable& nodes, PickleObjects& objects,
                       const std::string& where) {
  return Machine(bytes, nodes, objects, where).run();
}

}  // namespace transload
