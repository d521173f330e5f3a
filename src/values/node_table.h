// NodeTable: how a StateDict holds its values. Readers of formats fill it; Values, the walk and the
// writers of formats read it. One table of nodes, one arena of text, one list of references: a
// million tensors cost a few large allocations, and freeing them does not recurse. A node may be in
// several containers, or in itself, as Python objects may.
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
#include "values/keys.h"
#include "values/node_ids.h"

namespace transload {

// A tensor as a table row. `dims` is the place of its shape in the table of sizes; its strides
// follow.
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
// Kinds whose value is bytes in the arena of text.
constexpr bool has_text(ValueKind kind) {
  return kind == ValueKind::text || kind == ValueKind::bytes || kind == ValueKind::bytearray ||
         kind == ValueKind::device || kind == ValueKind::global || kind == ValueKind::big_integer ||
         kind == ValueKind::complex;
}

// The items of an object, in this order; kNoNode where it has none. An object that stands for a
// tensor (sparse, quantized) has tensor parts: a dict from what is added to its name, as
// "#indices", to the tensor. A module has a state dict (modules.h). Both are made of what the object
// holds anyway.
enum ObjectItem : std::size_t {
  kCallable,
  kArguments,
  kListItems,
  kDictItems,
  kTensorParts,
  kStateDict
};

class NodeTable {
 public:
  // Reserves what a pickle of that size needs if it holds tensors, so that nothing moves while the
  // tables grow.
  void reserve_for_pickle(std::size_t nbytes);

  // New nodes. Throw FormatError beyond 2^32 - 2 of them. None, bools and ints below 256 are one
  // node each, however often they occur: they are a third of a checkpoint.
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
  // A value of one of the kinds that has_text(), from its bytes in the arena.
  NodeId add_text(ValueKind kind, std::string_view value);
  // An empty list, tuple, set, dict, ordered_dict.
  NodeId container(ValueKind kind) { return add(kind, 0, 0, 0); }
  // A tuple, size, set, frozenset or list of these.
  NodeId sequence(ValueKind kind, std::span<const NodeId> items);
  NodeId object(NodeId callable, NodeId arguments, Made made);
  void set_parts(NodeId object, NodeId parts) { object_item(object, kTensorParts) = parts; }
  void set_state_dict(NodeId object, NodeId dict) { object_item(object, kStateDict) = dict; }
  NodeId tensor(const TensorRow& row, std::span<const std::int64_t> shape,
                std::span<const std::int64_t> stride);
  NodeId storage(std::uint32_t number, Dtype dtype, std::uint64_t numel);

  // Changes. The caller has checked the kinds.
  // Appends to any kind of sequence; an object keeps them as its list items.
  void append(NodeId list, std::span<const NodeId> items);
  // Adds an entry, or replaces the value of an equal key. Throws FormatError as KeyWork and
  // FlatIndex do.
  void set(NodeId dict, NodeId key, NodeId value);
  void set_attributes(NodeId node, NodeId attributes) { attributes_[node] = attributes; }
  void set_object_items(NodeId object, std::span<const NodeId> items);
  void become(NodeId node, NodeId other);  // node is now what other is
  bool can_be_key(NodeId node) const { return transload::can_be_key(*this, node); }

  ValueKind kind(NodeId node) const { return nodes_[node].kind; }
  bool as_boolean(NodeId node) const { return nodes_[node].tag != 0; }
  std::int64_t as_integer(NodeId node) const {
    return static_cast<std::int64_t>(nodes_[node].begin);
  }
  double as_real(NodeId node) const;
  std::pair<double, double> as_complex(NodeId node) const;
  // Of a dtype, or of a storage.
  Dtype as_dtype(NodeId node) const { return static_cast<Dtype>(nodes_[node].tag); }
  // Of the kinds that has_text(); a global as "module\nname".
  std::string_view as_text(NodeId node) const;
  std::string_view module_of(NodeId global) const;
  std::string_view name_of(NodeId global) const;

  // Of a list, tuple, size, set, frozenset; of an object its ObjectItems.
  std::span<const NodeId> items(NodeId node) const;
  // What a node holds: items, or keys and values; empty for other kinds. kNoNode for what an object
  // lacks.
  std::span<const NodeId> below(NodeId node) const {
    const ValueKind k = kind(node);
    return is_dict(k)                                 ? entries(node)
           : is_sequence(k) || k == ValueKind::object ? items(node)
                                                      : std::span<const NodeId>();
  }
  Made made(NodeId object) const { return static_cast<Made>(nodes_[object].tag); }
  // Of a dict: key, value, key, value, …
  std::span<const NodeId> entries(NodeId dict) const;
  // The value at a key, or kNoNode: at an equal key of any kind; at this text; at this int.
  NodeId find(NodeId dict, NodeId key) const;
  NodeId find(NodeId dict, std::string_view key) const;
  NodeId find(NodeId dict, std::int64_t key) const;
  NodeId attributes(NodeId node) const;  // a dict (or a tuple, of an object), or kNoNode

  TensorRow& row(NodeId tensor) { return rows_[nodes_[tensor].begin]; }
  const TensorRow& row(NodeId tensor) const { return rows_[nodes_[tensor].begin]; }
  std::span<const std::int64_t> shape(NodeId tensor) const;
  std::span<const std::int64_t> stride(NodeId tensor) const;
  std::uint32_t storage_number(NodeId node) const;  // of a tensor or storage
  std::uint64_t storage_numel(NodeId storage) const { return nodes_[storage].begin; }

  std::size_t size() const { return nodes_.size(); }
  std::size_t references() const { return refs_.size(); }  // items and entries, and room for more
  std::uint64_t text_nbytes() const { return text_.size(); }
  std::uint64_t nbytes() const {  // of memory, approximately
    return nodes_.size() * sizeof(Node) + refs_.size() * sizeof(NodeId) + text_.size() +
           rows_.size() * sizeof(TensorRow) + sizes_.size() * sizeof(std::int64_t);
  }
  // How often the nodes that the root reaches mention each node, the root once; 0: not part of the
  // state dict.
  std::vector<std::uint32_t> mentions() const;
  NodeId root = kNoNode;

  // The same as NodeCopy, for a single value.
  NodeId copy(const NodeTable& other, NodeId node,
              const std::vector<std::uint32_t>& storage_numbers);

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
  // Returns the one node of a value. `known` is 0 before it exists, then 1 more than its number.
  NodeId once(NodeId& known, ValueKind kind, std::uint8_t tag, std::uint64_t begin) {
    if (known == 0) known = add(kind, tag, 0, begin) + 1;
    return known - 1;
  }
  void grow(NodeId node, std::size_t more, std::size_t width);
  // Both return the value, or kNoNode. is_it(key node) says whether a key is the one; `hash` is
  // used in large dicts only.
  template <class IsIt>
  NodeId find_if(NodeId dict, const IsIt& is_it, std::size_t hash) const;
  bool is_large(NodeId dict) const;

  NodeId& object_item(NodeId object, ObjectItem which) {
    return refs_[nodes_[object].begin + which];
  }

  KeyWork key_work_;
  NodeId none_ = 0;
  std::array<NodeId, 2> booleans_{};
  std::array<NodeId, 256> small_{};
  Table<Node> nodes_;
  std::string text_;
  Table<NodeId> refs_;
  Table<TensorRow> rows_;
  Table<std::int64_t> sizes_;
  std::unordered_map<NodeId, NodeId> attributes_;
  FlatIndex<Entry> entries_of_large_dicts_;  // of all of them, by their keys and the dict
};

}  // namespace transload
