// Facts: CPython, Lib/pickletools.py and Lib/pickle.py, _Unpickler. Which opcodes occur in files of PyTorch and which are
// refused: docs/formats/torch_zip.md.
#include "pickle/reader.h"

#include "pickle/marked_stack.h"
#include "pickle/memo.h"
#include "pickle/opcodes.h"
#include "pickle/text_opcodes.h"
#include "transload/error.h"
#include "types/utf8.h"

namespace transload {
namespace {

constexpr std::size_t kMaxName = 1000;  // bytes of a module's or class's name
// Memory for the values of a pickle: so much for each of its bytes, and so much at least. Models take six per byte.
constexpr std::uint64_t kLeastMemory = 64 << 20, kMemoryPerByte = 32;

std::string kind_name(const NodeTable& nodes, NodeId node) {
  return std::string(name(nodes.kind(node)));
}

// What a sound pickle has left when STOP takes its result: nothing. Else "2 values and a mark".
std::string leftovers(const MarkedStack& stack) {
  const auto count = [](std::size_t n, const std::string& one) {
    return n == 1 ? "a " + one : std::to_string(n) + " " + one + "s";
  };
  if (stack.mark_count() == 0) return count(stack.size(), "value");
  if (stack.size() == 0) return count(stack.mark_count(), "mark");
  return count(stack.size(), "value") + " and " + count(stack.mark_count(), "mark");
}

// The opcodes that make containers of the last values on the stack, or put those into the container below.
class ContainerOpcodes {
 public:
  ContainerOpcodes(NodeTable& nodes, MarkedStack& stack) : nodes_(nodes), stack_(stack) {}

  // Replaces the last values by one that holds them.
  void push_sequence(ValueKind kind, std::span<const NodeId> items) {
    const NodeId made = nodes_.sequence(kind, items);
    stack_.drop(items.size());
    stack_.push(made);
  }

  void append(std::span<const NodeId> items) {
    const NodeId list = stack_.below(items.size());
    const ValueKind kind = nodes_.kind(list);
    if (kind != ValueKind::list && kind != ValueKind::object)
      throw OpcodeError("appends to a value of type " + kind_name(nodes_, list) +
                        ", expected a list");
    nodes_.append(list, items);
    stack_.drop(items.size());
  }

  void add_items(std::span<const NodeId> items) {
    const NodeId set = stack_.below(items.size());
    if (nodes_.kind(set) != ValueKind::set)
      throw OpcodeError("adds items to a value of type " + kind_name(nodes_, set) +
                        ", expected a set");
    nodes_.append(set, items);
    stack_.drop(items.size());
  }

  void push_dict(std::span<const NodeId> pairs) {
    const NodeId made = nodes_.container(ValueKind::dict);
    set_pairs(made, pairs);
    stack_.drop(pairs.size());
    stack_.push(made);
  }

  void set_items(std::span<const NodeId> pairs) {
    const NodeId dict = stack_.below(pairs.size());
    const ValueKind kind = nodes_.kind(dict);
    if (!is_dict(kind) && kind != ValueKind::object)
      throw OpcodeError("sets an item of a value of type " + kind_name(nodes_, dict) +
                        ", expected a dict");
    set_pairs(dict, pairs);
    stack_.drop(pairs.size());
  }

 private:
  void set_pairs(NodeId dict, std::span<const NodeId> pairs) {
    if (pairs.size() % 2) throw OpcodeError("sets a key without a value");
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      if (!nodes_.can_be_key(pairs[i])) {
        throw OpcodeError("uses a value of type " + kind_name(nodes_, pairs[i]) +
                          " as a key: it is not hashable, has too many parts, or may equal other "
                          "keys (as 1+0j equals 1)");
      }
      nodes_.set(dict, pairs[i], pairs[i + 1]);
    }
  }

  NodeTable& nodes_;
  MarkedStack& stack_;
};

// The opcodes that ask the PickleObjects what becomes of a name, a call or a persistent id.
class ObjectOpcodes {
 public:
  ObjectOpcodes(NodeTable& nodes, MarkedStack& stack, PickleObjects& objects,
                std::uint64_t pickle_nbytes)
      : nodes_(nodes),
        stack_(stack),
        objects_(objects),
        pickle_nbytes_(pickle_nbytes),
        most_nbytes_(nodes.nbytes() + kLeastMemory + kMemoryPerByte * pickle_nbytes) {}

  void push_global(std::string_view module, std::string_view global_name) {
    for (const std::string_view part : {module, global_name}) {
      if (part.size() > kMaxName)
        throw OpcodeError("has a name of more than " + std::to_string(kMaxName) + " bytes");
      if (!is_python_utf8(part)) throw OpcodeError("has a name that is not UTF-8");
      if (part.find('\n') != std::string_view::npos)
        throw OpcodeError("has a name with a line break");
    }
    // Copies: a name from the stack lies in the table, which grows meanwhile.
    stack_.push(objects_.global(std::string(module), std::string(global_name)));
    check_memory();
  }

  void push_stack_global() {
    const NodeId global_name = stack_.pop(), module = stack_.pop();
    for (const NodeId part : {module, global_name}) {
      if (nodes_.kind(part) != ValueKind::text)
        throw OpcodeError("takes a name of type " + kind_name(nodes_, part) + ", expected str");
    }
    push_global(nodes_.as_text(module), nodes_.as_text(global_name));
  }

  void call(Made made) {
    const NodeId arguments = stack_.pop(), callable = stack_.pop();
    if (nodes_.kind(arguments) != ValueKind::tuple) {
      throw OpcodeError("takes arguments of type " + kind_name(nodes_, arguments) +
                        ", expected a tuple");
    }
    stack_.push(objects_.call(callable, arguments, made));
    check_memory();
  }

  void call_with_keywords() {
    const NodeId keywords = stack_.pop(), arguments = stack_.pop(), callable = stack_.pop();
    const NodeId both[] = {arguments, keywords};
    stack_.push(objects_.call(callable, nodes_.sequence(ValueKind::tuple, both),
                              Made::by_new_with_keywords));
    check_memory();
  }

  void build() {
    const NodeId state = stack_.pop();
    objects_.build(stack_.top(), state);
  }

  // INST: calls the class on the stack with the values above the mark below it. OBJ: the class is the first of them.
  void call_with_values() {
    const NodeId callable = stack_.pop();
    call_values(callable, stack_.take_mark(), 0);
  }
  void call_first_value() {
    const auto values = stack_.take_mark();
    if (values.empty()) throw OpcodeError("needs a class above the mark");
    call_values(values[0], values, 1);
  }

  void push_persistent(NodeId id) { stack_.push(objects_.persistent(id)); }

  // A call takes a few bytes and can copy what was made before: a set of the items of a list, time and again.
  void check_memory() const {
    if (nodes_.nbytes() > most_nbytes_) {
      throw FormatError("the values take more than " + std::to_string(most_nbytes_) +
                        " bytes of memory, from " + std::to_string(pickle_nbytes_) +
                        " bytes of pickle");
    }
  }

 private:
  void call_values(NodeId callable, std::span<const NodeId> values, std::size_t first) {
    const NodeId arguments = nodes_.sequence(ValueKind::tuple, values.subspan(first));
    stack_.drop(values.size());
    stack_.push(objects_.call(callable, arguments, Made::by_call));
    check_memory();
  }

  NodeTable& nodes_;
  MarkedStack& stack_;
  PickleObjects& objects_;
  const std::uint64_t pickle_nbytes_, most_nbytes_;
};

class Machine {
 public:
  Machine(std::span<const std::byte> bytes, NodeTable& nodes, PickleObjects& objects)
      : decoder_(bytes),
        nodes_(nodes),
        containers_(nodes, stack_),
        objects_(nodes, stack_, objects, bytes.size()) {}

  ReadPickle run() {
    while (next() != Opcode::STOP) execute();
    const NodeId root = stack_.pop();
    if (stack_.size() > 0 || stack_.mark_count() > 0)
      throw OpcodeError("leaves " + leftovers(stack_) + " on the stack");
    return {root, decoder_.end_offset()};
  }

  const Instruction& now() const { return decoder_.now(); }

 private:
  Opcode next() {
    if (!decoder_.next()) throw FormatError(decoder_.error());
    return now().opcode;
  }

  void execute() {
    switch (now().opcode) {
      case Opcode::PROTO:
        return check_protocol();
      case Opcode::FRAME:  // its length tells a reader of streams how much to read
        return;
      case Opcode::STOP:
        return;

      case Opcode::MARK:
        return stack_.push_mark();
      case Opcode::POP:
        return stack_.ends_with_mark() ? stack_.pop_mark() : static_cast<void>(stack_.pop());
      case Opcode::POP_MARK:
        return stack_.drop(stack_.take_mark().size());
      case Opcode::DUP:
        return push(stack_.top());
      case Opcode::BINPUT:
      case Opcode::LONG_BINPUT:
        return memo_.put(now().number, stack_.top());
      case Opcode::MEMOIZE:
        return memo_.append(stack_.top());
      case Opcode::BINGET:
      case Opcode::LONG_BINGET:
        return push_memo(now().number);

      case Opcode::NONE:
        return push(nodes_.none());
      case Opcode::NEWTRUE:
        return push(nodes_.boolean(true));
      case Opcode::NEWFALSE:
        return push(nodes_.boolean(false));
      case Opcode::BININT:
      case Opcode::BININT1:
      case Opcode::BININT2:
        return push(nodes_.integer(now().integer()));
      case Opcode::LONG1:
      case Opcode::LONG4:
        return push(nodes_.big_integer(std::as_bytes(std::span(now().text))));
      case Opcode::BINFLOAT:
        return push(nodes_.real(now().real()));

      case Opcode::BINUNICODE:
      case Opcode::SHORT_BINUNICODE:
      case Opcode::BINUNICODE8:
        return push_text();
      case Opcode::BINSTRING:
      case Opcode::SHORT_BINSTRING:
        return push(text_or_bytes(nodes_, now().text));
      case Opcode::BINBYTES:
      case Opcode::SHORT_BINBYTES:
      case Opcode::BINBYTES8:
        return push(nodes_.bytes(now().text));
      case Opcode::BYTEARRAY8:
        return push(nodes_.bytearray(now().text));

      case Opcode::EMPTY_TUPLE:
        return push(nodes_.container(ValueKind::tuple));
      case Opcode::TUPLE1:
        return containers_.push_sequence(ValueKind::tuple, stack_.last(1));
      case Opcode::TUPLE2:
        return containers_.push_sequence(ValueKind::tuple, stack_.last(2));
      case Opcode::TUPLE3:
        return containers_.push_sequence(ValueKind::tuple, stack_.last(3));
      case Opcode::TUPLE:
        return containers_.push_sequence(ValueKind::tuple, stack_.take_mark());
      case Opcode::EMPTY_LIST:
        return push(nodes_.container(ValueKind::list));
      case Opcode::LIST:
        return containers_.push_sequence(ValueKind::list, stack_.take_mark());
      case Opcode::APPEND:
        return containers_.append(stack_.last(1));
      case Opcode::APPENDS:
        return containers_.append(stack_.take_mark());
      case Opcode::EMPTY_SET:
        return push(nodes_.container(ValueKind::set));
      case Opcode::ADDITEMS:
        return containers_.add_items(stack_.take_mark());
      case Opcode::FROZENSET:
        return containers_.push_sequence(ValueKind::frozenset, stack_.take_mark());
      case Opcode::EMPTY_DICT:
        return push(nodes_.container(ValueKind::dict));
      case Opcode::DICT:
        return containers_.push_dict(stack_.take_mark());
      case Opcode::SETITEM:
        return containers_.set_items(stack_.last(2));
      case Opcode::SETITEMS:
        return containers_.set_items(stack_.take_mark());

      case Opcode::GLOBAL:
        return objects_.push_global(now().text, now().second_line);
      case Opcode::STACK_GLOBAL:
        return objects_.push_stack_global();
      case Opcode::REDUCE:
        return objects_.call(Made::by_call);
      case Opcode::NEWOBJ:
        return objects_.call(Made::by_new);
      case Opcode::NEWOBJ_EX:
        return objects_.call_with_keywords();
      case Opcode::BUILD:
        return objects_.build();
      case Opcode::BINPERSID:
        return objects_.push_persistent(stack_.pop());

      case Opcode::INT:
      case Opcode::LONG:
      case Opcode::FLOAT:
      case Opcode::STRING:
      case Opcode::UNICODE:
        require_text_protocol();
        return push(value_of_line(nodes_, now()));
      case Opcode::PERSID:
        require_text_protocol();
        return objects_.push_persistent(text_or_bytes(nodes_, now().text));
      case Opcode::PUT:
        require_text_protocol();
        return memo_.put(number_of_line(now().text), stack_.top());
      case Opcode::GET:
        require_text_protocol();
        return push_memo(number_of_line(now().text));
      case Opcode::INST:
        require_text_protocol();
        objects_.push_global(now().text, now().second_line);
        return objects_.call_with_values();
      case Opcode::OBJ:
        require_text_protocol();
        return objects_.call_first_value();
      case Opcode::EXT1:
      case Opcode::EXT2:
      case Opcode::EXT4:
      case Opcode::NEXT_BUFFER:
      case Opcode::READONLY_BUFFER:
        throw OpcodeError("is not supported; PyTorch writes no checkpoint with it");
    }
  }

  void push(NodeId node) { stack_.push(node); }

  void check_protocol() {
    has_protocol_ = has_protocol_ || now().number > 1;
    if (now().number > kMaxPickleProtocol) {
      throw OpcodeError("names protocol " + std::to_string(now().number) +
                        ", the latest that is supported is " + std::to_string(kMaxPickleProtocol));
    }
  }

  void push_memo(std::uint64_t number) {
    const NodeId* const found = memo_.find(number);
    if (!found)
      throw OpcodeError("reads memo entry " + std::to_string(number) + ", which was never stored");
    push(*found);
  }

  void push_text() {
    if (!is_python_utf8(now().text)) throw OpcodeError("has a text that is not UTF-8");
    push(nodes_.text(now().text));
  }

  // No pickler writes the opcodes of protocols 0 and 1 into a pickle of a later one.
  void require_text_protocol() const {
    if (has_protocol_) {
      throw OpcodeError(
          "is of pickle protocol 0 or 1, but the pickle says that it is of a later one");
    }
  }

  OpcodeDecoder decoder_;
  NodeTable& nodes_;
  bool has_protocol_ = false;  // PROTO said that the pickle is of protocol 2 or later
  MarkedStack stack_;
  ContainerOpcodes containers_;
  ObjectOpcodes objects_;
  PickleMemo<NodeId> memo_;
};

}  // namespace

ReadPickle read_pickle(std::span<const std::byte> bytes, NodeTable& nodes, PickleObjects& objects,
                       const std::string& where) {
  Machine machine(bytes, nodes, objects);
  const auto place = [&] {
    return where + ": offset " + std::to_string(machine.now().offset) + ": ";
  };
  try {
    return machine.run();
  } catch (const OpcodeError& error) {
    throw FormatError(place() + "opcode " + std::string(name(machine.now().opcode)) + " " +
                      error.what());
  } catch (const FormatError& error) {
    throw FormatError(place() + error.what());
  }
}

}  // namespace transload
