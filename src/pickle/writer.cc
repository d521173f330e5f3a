// One stack of steps instead of recursion: what a state dict nests is bounded only by memory.
#include "pickle/writer.h"

#include <bit>
#include <cstring>
#include <map>

#include "pickle/globals.h"
#include "pickle/rebuild.h"
#include "transload/error.h"
#include "values/node_table.h"

namespace transload {
namespace {

constexpr std::size_t kBatch = 1000;  // items between two marks, as Lib/pickle.py has it

class Writer {
 public:
  Writer(const StateDict& state, std::span<const StorageRecord> records, bool allow_objects)
      : nodes_(state.nodes()),
        records_(records),
        allow_objects_(allow_objects),
        mentions_(nodes_.mentions()),
        memo_(nodes_.size(), kNoNode) {}

  std::string run() {
    out_ = "\x80\x02";
    push_child(nodes_.root);
    while (!steps_.empty()) {
      const std::size_t last = steps_.size() - 1;
      switch (steps_[last].what) {
        case Step::opcodes:
          out_ += steps_[last].text;
          steps_.pop_back();
          break;
        case Step::put:
          put(steps_[last].node);
          steps_.pop_back();
          break;
        case Step::end_tuple:
          end_tuple(steps_[last].node);
          steps_.pop_back();
          break;
        case Step::child: {
          const NodeId node = steps_[last].node;
          steps_.pop_back();
          write(node);
          break;
        }
        case Step::items:
          next_item(last, nodes_.items(steps_[last].node), 1, 'e');
          break;
        case Step::entries:
          next_item(last, nodes_.entries(steps_[last].node), 2, 'u');
          break;
      }
    }
    out_ += '.';
    return std::move(out_);
  }

 private:
  struct Step {
    enum What : std::uint8_t { opcodes, put, end_tuple, child, items, entries } what;
    NodeId node = kNoNode;
    std::size_t at = 0;
    std::string text = {};
  };

  void push_text(std::string text) {
    steps_.push_back({Step::opcodes, kNoNode, 0, std::move(text)});
  }
  void push_child(NodeId node) { steps_.push_back({Step::child, node, 0, {}}); }
  void push(Step::What what, NodeId node) { steps_.push_back({what, node, 0, {}}); }

  // One more item of a container, or the end of a batch of them.
  void next_item(std::size_t step, std::span<const NodeId> parts, std::size_t width,
                 char end_of_batch) {
    const std::size_t at = steps_[step].at;
    if (at > 0 && (at == parts.size() || at % (kBatch * width) == 0)) out_ += end_of_batch;
    if (at == parts.size()) {
      steps_.pop_back();
      return;
    }
    if (at % (kBatch * width) == 0) out_ += '(';
    steps_[step].at += width;
    for (std::size_t i = width; i-- > 0;) push_child(parts[at + i]);
  }

  template <class Number>
  void number(char opcode, Number value) {
    out_ += opcode;
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  void put_number(std::uint32_t index) {
    if (index < 256) {
      number('q', static_cast<std::uint8_t>(index));
    } else {
      number('r', index);
    }
  }

  void get_number(std::uint32_t index) {
    if (index < 256) {
      number('h', static_cast<std::uint8_t>(index));
    } else {
      number('j', index);
    }
  }

  void put(NodeId node) {
    if (mentions_[node] < 2) return;
    memo_[node] = next_memo_;
    put_number(next_memo_++);
  }

  // Texts and names that the writer itself repeats: "storage", "cpu", "c torch._utils …".
  void once(const std::string& opcodes) {
    const auto [at, is_new] = repeated_.try_emplace(opcodes, next_memo_);
    if (!is_new) return get_number(at->second);
    out_ += opcodes;
    put_number(next_memo_++);
  }

  void global(std::string_view module, std::string_view name) {
    once("c" + std::string(module) + "\n" + std::string(name) + "\n");
  }

  static std::string text_opcodes(std::string_view text) {
    const auto nbytes = static_cast<std::uint32_t>(text.size());
    std::string opcodes = "X";
    opcodes.append(reinterpret_cast<const char*>(&nbytes), 4);
    return opcodes += text;
  }

  void integer(std::int64_t value) {
    if (value >= 0 && value < 256) {
      number('K', static_cast<std::uint8_t>(value));
    } else if (value >= 0 && value < 65536) {
      number('M', static_cast<std::uint16_t>(value));
    } else if (value >= INT32_MIN && value <= INT32_MAX) {
      number('J', static_cast<std::int32_t>(value));
    } else {
      std::uint8_t nbytes = 8;  // the fewest that keep the sign
      while (nbytes > 1 && value >> (8 * nbytes - 9) == (value < 0 ? -1 : 0)) --nbytes;
      number('\x8A', nbytes);
      out_.append(reinterpret_cast<const char*>(&value), nbytes);
    }
  }

  void big_integer(std::string_view bytes) {
    if (bytes.size() < 256) {
      number('\x8A', static_cast<std::uint8_t>(bytes.size()));
    } else {
      number('\x8B', static_cast<std::uint32_t>(bytes.size()));
    }
    out_ += bytes;
  }

  void real(double value) { number('G', __builtin_bswap64(std::bit_cast<std::uint64_t>(value))); }

  void dims(std::span<const std::int64_t> values) {
    if (values.empty()) {
      out_ += ')';
      return;
    }
    if (values.size() > 3) out_ += '(';
    for (const std::int64_t value : values) integer(value);
    constexpr char ends[] = {'t', '\x85', '\x86', '\x87'};
    out_ += ends[values.size() > 3 ? 0 : values.size()];
  }

  void empty_ordered_dict() {
    global("collections", "OrderedDict");
    out_ += ")R";
  }

  void bytes(std::string_view value) {
    global("_codecs", "encode");
    std::string text;
    for (const char c : value) {  // each byte as the character of that number
      const auto u = static_cast<unsigned char>(c);
      if (u < 0x80) {
        text += c;
      } else {
        text += static_cast<char>(0xC0 | u >> 6);
        text += static_cast<char>(0x80 | (u & 0x3F));
      }
    }
    out_ += text_opcodes(text);
    once(text_opcodes("latin1"));
    out_ += "\x86R";
  }

  void storage(std::uint32_t number_of_storage) {
    const StorageRecord& record = records_[number_of_storage];
    const std::string_view storage_class = info(record.dtype).storage_class;
    out_ += '(';
    once(text_opcodes("storage"));
    if (storage_class.empty() || record.dtype == Dtype::uint8) {
      const bool untyped = storage_class.empty();
      global(untyped ? "torch.storage" : "torch", untyped ? "UntypedStorage" : "ByteStorage");
    } else {
      global("torch", storage_class);
    }
    out_ += text_opcodes(record.key);
    once(text_opcodes(record.location));
    integer(static_cast<std::int64_t>(record.nbytes / itemsize(record.dtype)));
    out_ += "tQ";
  }

  // Calls of torch._utils._rebuild_…; with attributes also of what keeps them.
  void tensor(NodeId node) {
    const TensorRow& row = nodes_.row(node);
    const NodeId attributes = nodes_.attributes(node);
    if (attributes != kNoNode) {
      if (row.is_parameter) {
        global("torch._utils", "_rebuild_parameter_with_state");
        out_ += '(';
        plain_tensor(node, false);
        out_ += row.requires_grad ? '\x88' : '\x89';
        empty_ordered_dict();
        push(Step::put, node);
        push_text("tR");
        push_child(attributes);
        return;
      }
      global("torch._tensor", "_rebuild_from_type_v2");
      out_ += '(';
      plain_tensor(node, true);
      push(Step::put, node);
      push_text("tR");
      push_child(attributes);
      return;
    }
    if (row.is_parameter) {
      global("torch._utils", "_rebuild_parameter");
      plain_tensor(node, false);
      out_ += row.requires_grad ? '\x88' : '\x89';
      empty_ordered_dict();
      out_ += "\x87R";
    } else {
      plain_tensor(node, false);
    }
    put(node);
  }

  // The call itself, or as the function, type and arguments that _rebuild_from_type_v2 takes.
  void plain_tensor(NodeId node, bool as_parts) {
    const TensorRow& row = nodes_.row(node);
    const bool requires_grad = row.requires_grad && !row.is_parameter;
    const auto call = [&](std::string_view function) {
      global("torch._utils", function);
      if (as_parts) global("torch", "Tensor");
      out_ += '(';
    };
    const bool on_meta = row.storage == TensorRow::kNoStorage || records_[row.storage].key.empty();
    if (on_meta) {
      call("_rebuild_meta_tensor_no_storage");
      global("torch", name(row.dtype));
      dims(nodes_.shape(node));
      dims(nodes_.stride(node));
      out_ += requires_grad ? '\x88' : '\x89';
    } else {
      const bool untyped = info(row.dtype).storage_class.empty();
      call(untyped ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2");
      storage(row.storage);
      const std::uint64_t bits = info(row.dtype).bits;
      integer(row.storage_offset -
              static_cast<std::int64_t>(records_[row.storage].begin * 8 / bits));
      dims(nodes_.shape(node));
      dims(nodes_.stride(node));
      out_ += requires_grad ? '\x88' : '\x89';
      empty_ordered_dict();
      if (untyped) global("torch", name(row.dtype));
      if (row.conj || row.neg) {
        out_ += '}';
        for (const auto& [bit, name_of_bit] :
             {std::pair(row.conj, "conj"), std::pair(row.neg, "neg")}) {
          if (bit) out_ += text_opcodes(name_of_bit) + "\x88s";
        }
      }
    }
    out_ += as_parts ? "t" : "tR";
  }

  void end_tuple(NodeId node) {
    const std::size_t count = nodes_.items(node).size();
    if (memo_[node] != kNoNode) {  // it is in itself: what was just built is taken back
      out_ += count > 3 ? std::string("1") : std::string(count, '0');
      get_number(memo_[node]);
      return;
    }
    constexpr char ends[] = {'t', '\x85', '\x86', '\x87'};
    out_ += ends[count > 3 ? 0 : count];
    if (nodes_.kind(node) == ValueKind::tuple) put(node);
  }

  // A name alone is refused too: who loads it imports its module.
  void require_plain(NodeId named) const {
    if (allow_objects_) return;
    const std::string_view module = nodes_.module_of(named), name = nodes_.name_of(named);
    if (is_plain_data(module, name)) return;
    throw UnsafePickleError(
        std::string(module) + "." + std::string(name) +
        " is not plain data and is not written; allow_objects writes it as it was read");
  }

  void object(NodeId node) {
    const auto parts = nodes_.items(node);
    const NodeId callable = parts[kCallable];
    if (nodes_.kind(callable) != ValueKind::global)
      throw UnsupportedError("an object that was made by what is no class or function");
    require_plain(callable);
    if (nodes_.made(node) == Made::by_new_with_keywords) {
      throw UnsupportedError(
          "an object of " + std::string(nodes_.name_of(callable)) +
          " that was made with keyword arguments cannot be written in pickle protocol 2");
    }
    if (const NodeId attributes = nodes_.attributes(node); attributes != kNoNode) {
      push_text("b");
      push_child(attributes);
    }
    if (parts[kDictItems] != kNoNode) push(Step::entries, parts[kDictItems]);
    if (parts[kListItems] != kNoNode) push(Step::items, parts[kListItems]);
    push(Step::put, node);
    push_text(nodes_.made(node) == Made::by_new ? "\x81" : "R");
    push_child(parts[kArguments]);
    push_child(callable);
  }

  void write(NodeId node) {
    if (memo_[node] != kNoNode) return get_number(memo_[node]);
    const ValueKind kind = nodes_.kind(node);
    switch (kind) {
      case ValueKind::none:
        out_ += 'N';
        return;
      case ValueKind::boolean:
        out_ += nodes_.as_boolean(node) ? '\x88' : '\x89';
        return;
      case ValueKind::integer:
        integer(nodes_.as_integer(node));
        return;
      case ValueKind::big_integer:
        big_integer(nodes_.as_text(node));
        return;
      case ValueKind::real:
        real(nodes_.as_real(node));
        return;
      case ValueKind::complex: {
        const auto [re, im] = nodes_.as_complex(node);
        global("__builtin__", "complex");
        real(re);
        real(im);
        out_ += "\x86R";
        return;
      }
      case ValueKind::text:
        out_ += text_opcodes(nodes_.as_text(node));
        return put(node);
      case ValueKind::bytes:
        bytes(nodes_.as_text(node));
        return put(node);
      case ValueKind::bytearray:
        global("__builtin__", "bytearray");
        bytes(nodes_.as_text(node));
        out_ += "\x85R";
        return put(node);
      case ValueKind::dtype:
        return global("torch", name(nodes_.as_dtype(node)));
      case ValueKind::global:
        require_plain(node);
        return global(nodes_.module_of(node), nodes_.name_of(node));
      case ValueKind::device: {
        const std::string_view text = nodes_.as_text(node);
        const std::size_t colon = text.find(':');
        global("torch", "device");
        out_ += text_opcodes(text.substr(0, colon));
        if (colon == std::string_view::npos) {
          out_ += "\x85R";
        } else {
          integer(std::strtoll(std::string(text.substr(colon + 1)).c_str(), nullptr, 10));
          out_ += "\x86R";
        }
        return put(node);
      }
      case ValueKind::tensor:
        return tensor(node);
      case ValueKind::storage:
        storage(nodes_.storage_number(node));
        return;
      case ValueKind::list:
        out_ += ']';
        put(node);
        return push(Step::items, node);
      case ValueKind::dict:
        out_ += '}';
        put(node);
        return push(Step::entries, node);
      case ValueKind::ordered_dict:
        empty_ordered_dict();
        put(node);
        if (const NodeId attributes = nodes_.attributes(node); attributes != kNoNode) {
          push_text("b");
          push_child(attributes);
        }
        return push(Step::entries, node);
      case ValueKind::set:
      case ValueKind::frozenset:
        global("__builtin__", kind == ValueKind::set ? "set" : "frozenset");
        out_ += ']';
        push(Step::put, node);
        push_text("\x85R");
        return push(Step::items, node);
      case ValueKind::size:
        global("torch", "Size");
        push(Step::put, node);
        push_text("\x85R");
        [[fallthrough]];
      case ValueKind::tuple: {
        const auto items = nodes_.items(node);
        if (items.empty()) {
          out_ += ')';
          return;
        }
        if (items.size() > 3) out_ += '(';
        push(Step::end_tuple, node);
        for (std::size_t i = items.size(); i-- > 0;) push_child(items[i]);
        return;
      }
      case ValueKind::object:
        return object(node);
    }
  }

  const NodeTable& nodes_;
  std::span<const StorageRecord> records_;
  bool allow_objects_;
  std::vector<std::uint32_t> mentions_;  // only what is mentioned twice needs a place in the memo
  std::vector<std::uint32_t> memo_;
  std::map<std::string, std::uint32_t> repeated_;
  std::uint32_t next_memo_ = 0;
  std::string out_;
  std::vector<Step> steps_;
};

}  // namespace

std::string write_pickle(const StateDict& state, std::span<const StorageRecord> records,
                         bool allow_objects) {
  return Writer(state, records, allow_objects).run();
}

}  // namespace transload
