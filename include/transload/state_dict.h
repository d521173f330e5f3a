// StateDict: what a checkpoint holds. Keys to tensors and plain values, nested and ordered as saved.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "transload/tensor.h"

namespace transload {

class NodeTable;
class StateDict;

enum class ValueKind : std::uint8_t {
  none,
  boolean,
  integer,
  big_integer,
  real,
  complex,
  text,
  bytes,
  bytearray,
  list,
  tuple,
  size,  // a torch.Size
  set,
  frozenset,
  dict,
  ordered_dict,
  dtype,
  device,
  global,  // the name of a class or function, never looked up
  object,  // what such a name was called with: inert, printable
  tensor,
  storage,  // a bare torch storage
};
std::string_view name(ValueKind kind);  // as Python names the type: "int", "OrderedDict"

// One value of a StateDict. A small handle: valid while the StateDict lives and is not changed.
// A function that asks for another kind than the value has throws Error with both.
class Value {
 public:
  ValueKind kind() const;
  bool is(ValueKind k) const { return kind() == k; }
  bool is_dict() const { return is(ValueKind::dict) || is(ValueKind::ordered_dict); }

  bool boolean() const;
  std::int64_t integer() const;   // Error if it has more than 64 bits
  double real() const;            // of an integer too
  std::string_view text() const;  // UTF-8 of text; of a device "cuda:0"
  // Of bytes and bytearray; of a big_integer two's complement, little-endian.
  std::span<const std::byte> bytes() const;
  Dtype dtype() const;
  Tensor tensor() const;
  // Of a tensor or storage: its place in StateDict::storages(); kNoStorage of a tensor that was saved on meta without one.
  static constexpr std::uint32_t kNoStorage = 0xFFFFFFFF;
  std::uint32_t storage_number() const;

  // Of list, tuple, size, set, frozenset: the items. Of dict, ordered_dict: the entries. Of object: what
  // was called, and its arguments.
  std::size_t size() const;
  Value item(std::size_t i) const;
  std::pair<Value, Value> entry(std::size_t i) const;
  std::optional<Value> find(std::string_view key) const;
  std::optional<Value> find(std::int64_t key) const;
  Value at(std::string_view key) const;  // Error names the keys that are nearly it
  Value at(std::int64_t key) const;

  // The attributes of an ordered_dict (`_metadata` of a state dict), a tensor or an object, as a dict.
  std::optional<Value> attributes() const;

  const StateDict& state() const { return *state_; }
  std::uint32_t id() const { return id_; }

  Value(const StateDict& state, std::uint32_t id) : state_(&state), id_(id) {}

 private:
  const NodeTable& nodes() const;
  const StateDict* state_;
  std::uint32_t id_;
};

// As Python prints it, tensors as "float32 [10, 10] on cuda:0"; stops with "…" after max_chars.
std::string str(const Value& value, std::size_t max_chars = 10'000);

// What a key adds to the names of tensors: a text as it is, others as Python prints them.
std::string name_part(const Value& key);

// What set() and append() take.
using Item = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Tensor, Dtype,
                          Device, std::reference_wrapper<const StateDict>>;

// A tensor and where it stands: the keys and positions from the root, joined by '/'.
struct NamedTensor {
  std::string name;
  Value value;
};

// Copying is cheap and shares the storages. Not for several threads while one changes it.
class StateDict {
 public:
  StateDict();  // an empty OrderedDict, which is what torch's state_dict() makes
  static StateDict dict();
  static StateDict list();
  static StateDict tuple(const std::vector<Item>& items);

  Value root() const;  // most often a dict; any kind of value can be saved

  // Of the root, if it is a dict.
  std::size_t size() const { return root().size(); }
  bool contains(std::string_view key) const { return root().find(key).has_value(); }
  Value operator[](std::string_view key) const { return root().at(key); }
  Tensor tensor(std::string_view path) const;  // '/' joins the levels

  // Adds an entry to a dict at the root, or replaces its value; adds an item to a list at the root.
  void set(std::string_view key, const Item& item);
  void set(std::int64_t key, const Item& item);
  void append(const Item& item);
  void set_attribute(std::string_view name, const Item& item);  // of an ordered_dict at the root

  // Every place that holds a tensor, in the order of the file. One that is in itself is not entered twice.
  std::vector<NamedTensor> tensors() const&;
  std::vector<NamedTensor> tensors() const&& = delete;  // its values would outlive the state dict

  // The storages that the tensors share, by number. On meta if this is an Index's contents.
  std::span<const Storage> storages() const { return *storages_; }

  // The same tensors and values over other storages: one for each of storages(), by number.
  StateDict over(std::vector<Storage> storages) const;

  // For formats, which fill the table themselves.
  StateDict(std::shared_ptr<NodeTable> nodes, std::vector<Storage> storages);
  const NodeTable& nodes() const { return *nodes_; }

 private:
  NodeTable& own_nodes();
  std::uint32_t add(const Item& item);
  std::uint32_t number_of(const Storage& storage);

  std::shared_ptr<NodeTable> nodes_;
  std::shared_ptr<std::vector<Storage>> storages_;
  std::shared_ptr<void> numbers_;  // storage identity to number, while building
};

}  // namespace transload
