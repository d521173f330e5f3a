// Writes values with a stack of steps instead of recursion: only memory bounds how deep a state dict nests.
// Facts: CPython, Lib/pickle.py, _Pickler.
#include "pickle/writer.h"

#include "pickle/cycles.h"
#include "pickle/globals.h"
#include "pickle/pickle_output.h"
#include "pickle/tensor_writer.h"
#include "transload/error.h"
#include "values/node_table.h"

namespace transload {
namespace {

constexpr std::size_t kBatch = 1000;  // items between two marks, as Lib/pickle.py has it
constexpr int kProtocol = 2;          // what torch.save writes

// Each byte as the character of that number.
std::string as_latin1_text(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xC0 | u >> 6);
      text += static_cast<char>(0x80 | (u & 0x3F));
    }
  }
  return text;
}

// Protocol 2 has no opcode for bytes.
void write_bytes(PickleOutput& out, std::string_view value) {
  out.global("_codecs", "encode");
  out.text(as_latin1_text(value));
  out.repeated_text("latin1");
  out.call(2);
}

void write_bytearray(PickleOutput& out, std::string_view value) {
  out.global("__builtin__", "bytearray");
  write_bytes(out, value);
  out.call(1);
}

void write_complex(PickleOutput& out, std::pair<double, double> value) {
  out.global("__builtin__", "complex");
  out.encoder().add_real(value.first).add_real(value.second);
  out.call(2);
}

// "cuda:1"
void write_device(PickleOutput& out, std::string_view device) {
  const std::size_t colon = device.find(':');
  out.global("torch", "device");
  out.text(device.substr(0, colon));
  if (colon == device.npos) return out.call(1);
  const std::string index(device.substr(colon + 1));
  out.encoder().add_integer(std::strtoll(index.c_str(), nullptr, 10));
  out.call(2);
}

class Writer {
 public:
  Writer(const StateDict& state, std::span<const StorageRecord> records, bool allow_objects)
      : nodes_(state.nodes()),
        allow_objects_(allow_objects),
        mentions_(nodes_.mentions()),
        has_cycle_(has_cycle(nodes_)),
        memo_(nodes_.size(), kNoNode),
        tensors_(nodes_, records, out_) {}

  std::string run() {
    if (has_cycle_ && has_cycle_without_container(nodes_))
      throw UnsupportedError(
          "a set or the arguments of an object hold that value itself, which pickle protocol 2 "
          "cannot write");
    out_.encoder().add(Opcode::PROTO, std::int64_t{kProtocol});
    push(Step::child, nodes_.root);
    while (!steps_.empty()) execute();
    out_.add(Opcode::STOP);
    return out_.take();
  }

 private:
  // What is left to do, the next on top.
  struct Step {
    enum What : std::uint8_t { opcode, put, end_tuple, child, items, entries } what;
    NodeId node = kNoNode;
    Opcode code = Opcode::STOP;  // of an opcode
    std::size_t at = 0;          // of items and entries: how many are written
  };

  void push(Step::What what, NodeId node) { steps_.push_back({what, node}); }
  void push(Opcode code) { steps_.push_back({Step::opcode, kNoNode, code}); }

  void execute() {
    const Step step = steps_.back();
    if (step.what == Step::items) return next_item(nodes_.items(step.node), 1, Opcode::APPENDS);
    if (step.what == Step::entries)
      return next_item(nodes_.entries(step.node), 2, Opcode::SETITEMS);
    steps_.pop_back();
    switch (step.what) {
      case Step::opcode:
        return out_.add(step.code);
      case Step::put:
        return put(step.node);
      case Step::end_tuple:
        return end_tuple(step.node);
      case Step::child:
        return write(step.node);
      case Step::items:
      case Step::entries:
        return;
    }
  }

  // Writes one more item of a container (of a dict, a key and a value), or ends a batch of them.
  void next_item(std::span<const NodeId> parts, std::size_t width, Opcode end_of_batch) {
    Step& step = steps_.back();
    const std::size_t at = step.at;
    const bool is_between_batches = at % (kBatch * width) == 0;
    if (at > 0 && (at == parts.size() || is_between_batches)) out_.add(end_of_batch);
    if (at == parts.size()) return steps_.pop_back();
    if (is_between_batches) out_.add(Opcode::MARK);
    step.at += width;
    for (std::size_t i = width; i-- > 0;) push(Step::child, parts[at + i]);
  }

  // Only what is mentioned twice needs a place in the memo. Where a value holds itself, what is on the way back to it does too.
  void put(NodeId node) {
    if (mentions_[node] >= 2 || has_cycle_) memo_[node] = out_.put();
  }

  void end_tuple(NodeId node) {
    const std::size_t count = nodes_.items(node).size();
    if (memo_[node] !=
        kNoNode) {  // it holds itself: takes back what was just written, as Lib/pickle.py
      if (needs_mark(count))
        out_.add(Opcode::POP_MARK);
      else
        for (std::size_t i = 0; i < count; ++i) out_.add(Opcode::POP);
      return out_.get(memo_[node]);
    }
    out_.add(tuple_opcode(count));
    if (nodes_.kind(node) == ValueKind::tuple) put(node);
  }

  // Throws for a name that is only mentioned too: a program that loads it imports its module.
  void require_plain(NodeId global) const {
    const std::string_view module = nodes_.module_of(global), name = nodes_.name_of(global);
    if (allow_objects_ || is_plain_data(module, name)) return;
    throw UnsafePickleError(std::string(module) + "." + std::string(name) +
                            " is not plain data and is not written; with allow_objects it is "
                            "written as it was read");
  }

  void write(NodeId node) {
    if (memo_[node] != kNoNode) return out_.get(memo_[node]);
    switch (nodes_.kind(node)) {
      case ValueKind::none:
        return out_.add(Opcode::NONE);
      case ValueKind::boolean:
        return out_.boolean(nodes_.as_boolean(node));
      case ValueKind::integer:
        return static_cast<void>(out_.encoder().add_integer(nodes_.as_integer(node)));
      case ValueKind::big_integer:
        return static_cast<void>(out_.encoder().add_big_integer(nodes_.as_text(node)));
      case ValueKind::real:
        return static_cast<void>(out_.encoder().add_real(nodes_.as_real(node)));
      case ValueKind::complex:
        return write_complex(out_, nodes_.as_complex(node));
      case ValueKind::text:
        out_.text(nodes_.as_text(node));
        return put(node);
      case ValueKind::bytes:
        write_bytes(out_, nodes_.as_text(node));
        return put(node);
      case ValueKind::bytearray:
        write_bytearray(out_, nodes_.as_text(node));
        return put(node);
      case ValueKind::dtype:
        return out_.global("torch", name(nodes_.as_dtype(node)));
      case ValueKind::global:
        require_plain(node);
        return out_.global(nodes_.module_of(node), nodes_.name_of(node));
      case ValueKind::device:
        write_device(out_, nodes_.as_text(node));
        return put(node);
      case ValueKind::tensor:
        return write_tensor(node);
      case ValueKind::storage:
        return tensors_.write_storage(nodes_.storage_number(node));
      case ValueKind::list:
        return begin(node, Opcode::EMPTY_LIST, Step::items);
      case ValueKind::dict:
        return begin(node, Opcode::EMPTY_DICT, Step::entries);
      case ValueKind::ordered_dict:
        return write_ordered_dict(node);
      case ValueKind::set:
        return write_set(node, "set");
      case ValueKind::frozenset:
        return write_set(node, "frozenset");
      case ValueKind::size:
        out_.global("torch", "Size");
        push_call_of_one(node);
        return write_tuple(node);
      case ValueKind::tuple:
        return write_tuple(node);
      case ValueKind::object:
        return write_object(node);
    }
  }

  // The opcodes behind the one argument of a call.
  void push_call_of_one(NodeId node) {
    push(Step::put, node);
    push(Opcode::REDUCE);
    push(Opcode::TUPLE1);
  }

  void begin(NodeId node, Opcode empty, Step::What contents) {
    out_.add(empty);
    put(node);
    push(contents, node);
  }

  void write_tensor(NodeId node) {
    const NodeId attributes = nodes_.attributes(node);
    if (attributes == kNoNode) {
      tensors_.write(node);
      return put(node);
    }
    tensors_.begin_with_attributes(node);
    push(Step::put, node);
    push(Opcode::REDUCE);
    push(Opcode::TUPLE);
    push(Step::child, attributes);
  }

  void push_attributes(NodeId node) {
    const NodeId attributes = nodes_.attributes(node);
    if (attributes == kNoNode) return;
    push(Opcode::BUILD);
    push(Step::child, attributes);
  }

  void write_ordered_dict(NodeId node) {
    out_.empty_ordered_dict();
    put(node);
    push_attributes(node);
    push(Step::entries, node);
  }

  // Protocol 2 has no opcode for sets: a call with a list.
  void write_set(NodeId node, std::string_view name) {
    out_.global("__builtin__", name);
    out_.add(Opcode::EMPTY_LIST);
    push_call_of_one(node);
    push(Step::items, node);
  }

  void write_tuple(NodeId node) {
    const auto items = nodes_.items(node);
    if (items.empty()) return out_.add(Opcode::EMPTY_TUPLE);
    if (needs_mark(items.size())) out_.add(Opcode::MARK);
    push(Step::end_tuple, node);
    for (std::size_t i = items.size(); i-- > 0;) push(Step::child, items[i]);
  }

  void write_object(NodeId node) {
    const auto parts = nodes_.items(node);
    const NodeId callable = parts[kCallable];
    if (nodes_.kind(callable) != ValueKind::global)
      throw UnsupportedError("an object that no class or function made cannot be written");
    require_plain(callable);
    if (nodes_.made(node) == Made::by_new_with_keywords) {
      throw UnsupportedError(
          "an object of " + std::string(nodes_.name_of(callable)) +
          " that was made with keyword arguments cannot be written in pickle protocol 2");
    }
    push_attributes(node);
    if (parts[kDictItems] != kNoNode) push(Step::entries, parts[kDictItems]);
    if (parts[kListItems] != kNoNode) push(Step::items, parts[kListItems]);
    push(Step::put, node);
    push(nodes_.made(node) == Made::by_new ? Opcode::NEWOBJ : Opcode::REDUCE);
    push(Step::child, parts[kArguments]);
    push(Step::child, callable);
  }

  const NodeTable& nodes_;
  const bool allow_objects_;
  const std::vector<std::uint32_t> mentions_;
  const bool has_cycle_;
  std::vector<std::uint32_t> memo_;  // numbers, by node; kNoNode: not stored
  PickleOutput out_;
  TensorWriter tensors_;
  std::vector<Step> steps_;
};

}  // namespace

std::string write_pickle(const StateDict& state, std::span<const StorageRecord> records,
                         bool allow_objects) {
  return Writer(state, records, allow_objects).run();
}

}  // namespace transload
