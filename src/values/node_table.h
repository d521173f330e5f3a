// NodeTable: how a StateDict holds its values. One table of nodes, one arena of text, one list of
// references: a million tensors cost a few large allocations, and nothing in it is recursive to free.
// A node may stand in several containers, or in itself, as Python objects may.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "transload/state_dict.h"
#include "types/flat_index.h"
#include "types/huge_pages.h"

namespace transload {

using NodeId = std::uint32_t;
inline constexpr NodeId kNoNode = 0xFFFFFFFF;

// A tensor as a table row; `dims` says where its shape begins in the table of sizes, its strides follow.
struct TensorRow {
  static constexpr std::uint32_t kNoStorage = Value::kNoStorage;
  std::uint32_t storage = kNoStorage;
  Dtype dtype = Dtype::float32;
  std::uint8_t ndim = 0;
  bool requires_grad : 1 = false;
  bool is_parameter : 1 = false;
  bool conj : 1 = false;
  bool neg : 1 = false;
  std::int64_t storage_offset = 0;
  std::uint64_t dims = 0;
};

constexpr bool is_sequence(ValueKind kind) {
  return kind == ValueKind::list || kind == ValueKind::tuple || kind == ValueKind::size ||
         kind == ValueKind::set || kind == ValueKind::frozenset;
}
constexpr bool is_dict(ValueKind kind) {
  return kind == ValueKind::dict || kind == ValueKind::ordered_dict;
}
// Whose value is bytes in the arena of text.
constexpr bool has_text(ValueKind kind) {
  return kind == ValueKind::text || kind == ValueKind::bytes || kind == ValueKind::bytearray ||
         kind == ValueKind::device || kind == ValueKind::global || kind == ValueKind::big_integer ||
         kind == ValueKind::complex;
}

// The items of an object, in this order; kNoNode where there are none. Tensor parts: of one that stands for a tensor, a dict
// by what is added to its name, as "#indices".
enum ObjectItem : std::size_t { kCallable, kArguments, kListItems, kDictItems, kTensorParts };

// How an object came to be: called, or made by __new__ without or with keyword arguments.
enum class Made : std::uint8_t { by_call, by_new, by_new_with_keywords };

class NodeTable {
 public:
  // Room for what a pickle of so many bytes makes, if it holds tensors: then nothing is moved while it grows.
  void reserve_for_pickle(std::size_t nbytes);

  // New nodes. Throw FormatError beyond 2^32 - 2 of them.
  // None, bools and small numbers are one node each, however often they occur: they make up a third of a checkpoint.
  NodeId none() { return once(none_, ValueKind::none, 0, 0); }
  NodeId boolean(bool value) { return once(booleans_[value], ValueKind::boolean, value, 0); }
  NodeId integer(std::int64_t value) {
    const auto bits = static_cast<std::uint64_t>(value);
    return bits < small_.size() ? once(small_[bits], ValueKind::integer, 0, bits)
                                : add(ValueKind::integer, 0, 0, bits);
  }
  // Two's complement, little-endian, any length. Becomes an `integer` if it fits.
  NodeId big_integer(std::span<const std::byte> value);
  NodeId real(double value);
  NodeId complex(double re, double im);
  NodeId text(std::string_view value) { return add_text(ValueKind::text, value); }
  NodeId bytes(std::string_view value) { return add_text(ValueKind::bytes, value); }
  NodeId bytearray(std::string_view value) { return add_text(ValueKind::bytearray, value); }
  // Any text: "mps:0".
  NodeId device(std::string_view value) { return add_text(ValueKind::device, value); }
  NodeId dtype(Dtype value) {
    return add(ValueKind::dtype, static_cast<std::uint8_t>(value), 0, 0);
  }
  NodeId global(std::string_view module, std::string_view name);
  // An empty list, tuple, set, dict, ordered_dict.
  NodeId container(ValueKind kind) { return add(kind, 0, 0, 0); }
  // A tuple, size, set, frozenset or list of these.
  NodeId sequence(ValueKind kind, std::span<const NodeId> items);
  NodeId object(NodeId callable, NodeId arguments, Made made);
  void set_parts(NodeId object, NodeId parts) { object_item(object, kTensorParts) = parts; }
  NodeId tensor(const TensorRow& row, std::span<const std::int64_t> shape,
                std::span<const std::int64_t> stride);
  NodeId storage(std::uint32_t number, Dtype dtype, std::uint64_t numel);

  // Changes. The caller has checked the kinds.
  // To a list, set, frozenset; an object keeps them as its list items.
  void append(NodeId list, std::span<const NodeId> items);
  // Replaces the value of an equal key. Throws FormatError where long keys are used again and again, to slow readers down.
  void set(NodeId dict, NodeId key, NodeId value);
  void set_attributes(NodeId node, NodeId attributes) { attributes_[node] = attributes; }
  void become(NodeId node, NodeId other);  // node is now what other is
  // No list, dict, set; a tuple's parts checked, at most 64 of them.
  bool is_hashable(NodeId node) const;
  // And none that equals others in ways that are not looked for: a frozenset of several, a complex number that is real.
  bool can_be_key(NodeId node) const;

  ValueKind kind(NodeId node) const { return nodes_[node].kind; }
  bool as_boolean(NodeId node) const { return nodes_[node].tag != 0; }
  std::int64_t as_integer(NodeId node) const {
    return static_cast<std::int64_t>(nodes_[node].begin);
  }
  double as_real(NodeId node) const;
  std::pair<double, double> as_complex(NodeId node) const;
  // Of a dtype, or of a storage.
  Dtype as_dtype(NodeId node) const { return static_cast<Dtype>(nodes_[node].tag); }
  // Of what has_text(); a global as "module\nname".
  std::string_view as_text(NodeId node) const;
  std::string_view module_of(NodeId global) const;
  std::string_view name_of(NodeId global) const;

  // Of a list, tuple, size, set, frozenset; of an object its ObjectItems.
  std::span<const NodeId> items(NodeId node) const;
  // What a node holds, kNoNode among it: items, or keys and values; nothing of what holds none.
  std::span<const NodeId> below(NodeId node) const {
    const ValueKind k = kind(node);
    return is_dict(k)                                 ? entries(node)
           : is_sequence(k) || k == ValueKind::object ? items(node)
                                                      : std::span<const NodeId>();
  }
  Made made(NodeId object) const { return static_cast<Made>(nodes_[object].tag); }
  // Of a dict: key, value, key, value, …
  std::span<const NodeId> entries(NodeId dict) const;
  NodeId find(NodeId dict, NodeId key) const;  // the value, or kNoNode
  NodeId find(NodeId dict, std::string_view key) const;
  NodeId attributes(NodeId node) const;  // a dict (or a tuple, of an object), or kNoNode

  TensorRow& row(NodeId tensor) { return rows_[nodes_[tensor].begin]; }
  const TensorRow& row(NodeId tensor) const { return rows_[nodes_[tensor].begin]; }
  std::span<const std::int64_t> shape(NodeId tensor) const;
  std::span<const std::int64_t> stride(NodeId tensor) const;
  std::uint32_t storage_number(NodeId node) const;  // of a tensor or storage
  std::uint64_t storage_numel(NodeId storage) const { return nodes_[storage].begin; }

  std::size_t size() const { return nodes_.size(); }
  std::uint64_t nbytes() const {  // of memory, more or less
    return nodes_.size() * sizeof(Node) + refs_.size() * sizeof(NodeId) + text_.size() +
           rows_.size() * sizeof(TensorRow) + sizes_.size() * sizeof(std::int64_t);
  }
  // How often each node is mentioned by those that the root reaches, the root once; 0: not part of the state dict.
  std::vector<std::uint32_t> mentions() const;
  NodeId root = kNoNode;

  // A copy of `node` of another table and of all below it, what is shared stays shared. `storage` maps the numbers.
  NodeId copy(const NodeTable& other, NodeId node,
              const std::vector<std::uint32_t>& storage_numbers);

  // Equal as Python compares keys: True == 1 == 1.0. Looks at 64 parts at most.
  bool equal_keys(NodeId a, NodeId b) const;

 private:
  struct Node {
    ValueKind kind;
    std::uint8_t tag;     // a bool, a Dtype, a Made
    std::uint32_t count;  // items, entries, bytes of text; of a storage its number
    std::uint64_t begin;  // into refs_, text_ or rows_; or the value itself
  };
  struct Entry {
    NodeId dict;
    std::uint32_t number;
  };

  NodeId add(ValueKind kind, std::uint8_t tag, std::uint32_t count, std::uint64_t begin);
  // One of those below: 0 is not there yet, else 1 more than its node.
  NodeId once(NodeId& known, ValueKind kind, std::uint8_t tag, std::uint64_t begin) {
    if (known == 0) known = add(kind, tag, 0, begin) + 1;
    return known - 1;
  }
  NodeId add_text(ValueKind kind, std::string_view value);
  void grow(NodeId node, std::size_t more, std::size_t width);
  std::size_t hash(NodeId key) const;
  // Whether an entry is that of a dict with this key; if it is kNoNode, with this text.
  auto is_entry(NodeId dict, NodeId key, std::string_view key_text) const {
    return [this, dict, key, key_text](const Entry& entry) {
      if (entry.dict != dict) return false;
      const NodeId candidate = entries(dict)[2 * std::size_t{entry.number}];
      return key != kNoNode ? equal_keys(candidate, key)
                            : kind(candidate) == ValueKind::text && as_text(candidate) == key_text;
    };
  }
  NodeId find(NodeId dict, std::size_t hash, NodeId key, std::string_view text,
              std::uint32_t& entry) const;

  NodeId& object_item(NodeId object, ObjectItem which) {
    return refs_[nodes_[object].begin + which];
  }
  void count_work(NodeId key);
  bool equal_numbers(NodeId a, NodeId b) const;

  std::uint64_t key_nbytes_ = 0;                             // of long keys that were looked up
  bool has_large_reals_ = false, has_big_integers_ = false;  // among the keys
  NodeId none_ = 0;
  std::array<NodeId, 2> booleans_{};
  std::array<NodeId, 256> small_{};
  Table<Node> nodes_;
  std::string text_;
  Table<NodeId> refs_;
  Table<TensorRow> rows_;
  Table<std::int64_t> sizes_;
  std::unordered_map<NodeId, NodeId> attributes_;
  FlatIndex<Entry> entries_of_large_dicts_;
};

}  // namespace transload
