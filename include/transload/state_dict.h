// StateDict: what a checkpoint holds. Keys to tensors and plain values, nested and ordered as
// saved.
#pragma once

#include <complex>
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
struct StateContents;  // the table of values and the storages

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

// The name of a class or function, as a file states it.
struct GlobalName {
  std::string_view module, name;  // "collections", "OrderedDict"
};

struct ObjectParts;
struct NamedTensor;

// One value of a StateDict: a handle that keeps the values and the storages alive, so it may
// outlive the StateDict. It goes on showing what was there when it was made; while it lives, a
// change of the StateDict copies the table of values first, so keep none across many calls of
// set(). Functions throw Error if the value is of another kind than they read, with both kinds.
class Value {
 public:
  ValueKind kind() const;
  bool is(ValueKind k) const { return kind() == k; }
  bool is_dict() const { return is(ValueKind::dict) || is(ValueKind::ordered_dict); }

  bool boolean() const;
  std::int64_t integer() const;  // Error if it has more than 64 bits
  double real() const;           // of an integer too
  // UTF-8 of text; of a device "cuda:0". Valid while this Value or its StateDict lives unchanged.
  std::string_view text() const;
  // Of bytes and bytearray; of a big_integer two's complement, little-endian. Valid as text() is.
  std::span<const std::byte> bytes() const;
  Dtype dtype() const;
  Tensor tensor() const;
  // Of a tensor or storage: its place in StateDict::storages(); kNoStorage of a tensor that was
  // saved on meta without one.
  static constexpr std::uint32_t kNoStorage = 0xFFFFFFFF;
  std::uint32_t storage_number() const;

  std::complex<double> complex() const;  // of a real and an integer too
  GlobalName global() const;             // valid as text() is
  ObjectParts object() const;
  // Whether Python could use it as an item of a set: not a list, dict or set, also not inside a
  // tuple. False for more than 64 values inside tuples: hashing shared tuples can take exponential
  // time.
  bool is_hashable() const;

  // Of list, tuple, size, set, frozenset: the items. Of dict, ordered_dict: the entries. Of object:
  // what was called, and its arguments.
  std::size_t size() const;
  Value item(std::size_t i) const;
  std::pair<Value, Value> entry(std::size_t i) const;
  std::optional<Value> find(std::string_view key) const;
  std::optional<Value> find(std::int64_t key) const;
  Value at(std::string_view key) const;  // Error suggests the nearest key
  Value at(std::int64_t key) const;

  // The value at a path from here: keys and positions joined by '/', as
  // "optimizer_states/0/state/1/exp_avg". Lists and tuples have positions; an int key is its
  // digits. Keys may contain '/': the longest key that leads to a value wins. Every name that
  // tensors() returns is a path. Error lists the parts that exist.
  Value at_path(std::string_view path) const;

  // Every tensor below, as StateDict::tensors(), by names that begin here.
  std::vector<NamedTensor> tensors() const;

  // The attributes of an ordered_dict (`_metadata` of a state dict), a tensor or an object, as a
  // dict.
  std::optional<Value> attributes() const;

  // Equal for two values of one state dict if and only if they are one object, as Python's id().
  std::uint32_t id() const { return id_; }

  // For the library itself.
  Value(const StateDict& state, std::uint32_t id);
  Value(std::shared_ptr<const StateContents> contents, std::uint32_t id)
      : contents_(std::move(contents)), id_(id) {}
  const std::shared_ptr<const StateContents>& contents() const { return contents_; }

 private:
  const NodeTable& nodes() const;
  std::shared_ptr<const StateContents> contents_;
  std::uint32_t id_;
};

// How an object was made: by a call, or by __new__ without or with keyword arguments.
enum class Made : std::uint8_t { by_call, by_new, by_new_with_keywords };

// What an object was made from, as its pickle states it. Nothing was called.
struct ObjectParts {
  Value callable;   // most often a global
  Value arguments;  // most often a tuple; by_new_with_keywords: of a tuple and a dict
  std::optional<Value> list_items{};  // the values that were appended to it
  std::optional<Value> dict_items{};  // the entries that were set in it
  // Of a torch.nn.Module, or of a program's: as its state_dict() would be.
  std::optional<Value> state_dict{};
  std::optional<Value> state{};  // what its attributes were set from: a dict, or a tuple
  Made made = Made::by_call;
};

// As Python prints it, tensors as "float32 [10, 10] on cuda:0"; stops with "…" after max_chars.
std::string str(const Value& value, std::size_t max_chars = 10'000);

// A tensor and its name: a path from the root, as Value::at_path() takes it.
struct NamedTensor {
  std::string name;
  Value value;
};

// What set() and append() take.
using Item = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Tensor, Dtype,
                          Device, std::reference_wrapper<const StateDict>>;

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
  Value at_path(std::string_view path) const { return root().at_path(path); }
  Tensor tensor(std::string_view path) const { return at_path(path).tensor(); }

  // Adds an entry to a dict at the root, or replaces its value; adds an item to a list at the root.
  void set(std::string_view key, const Item& item);
  void set(std::int64_t key, const Item& item);
  void append(const Item& item);
  void set_attribute(std::string_view name, const Item& item);  // of an ordered_dict at the root

  // Every place that holds a tensor, in the order of the file. Containers that contain themselves
  // are entered once on a path; where shared containers make far more places than there are values,
  // each is entered once in all.
  std::vector<NamedTensor> tensors() const { return root().tensors(); }

  // The storages that the tensors share, by number. On meta if this is an Index's contents.
  std::span<const Storage> storages() const;

  // The same tensors and values over other storages: one for each of storages(), by number.
  StateDict over(std::vector<Storage> storages) const;

  // For formats, which fill the table themselves.
  StateDict(std::shared_ptr<NodeTable> nodes, std::vector<Storage> storages);
  const NodeTable& nodes() const;

 private:
  friend class StateDictBuilder;
  friend class Value;
  StateContents& own_contents();  // copied first if a Value or another StateDict shares them
  NodeTable& own_nodes();
  std::uint32_t add(const Item& item);
  std::uint32_t number_of(const Storage& storage);

  std::shared_ptr<StateContents> contents_;
};

// For each storage, by number, the names of the tensors over it, in the order of the file.
std::vector<std::vector<std::string>> names_by_storage(const StateDict& state);

// A value and its place in a state dict, as walk() visits it. The texts are valid during the visit.
struct VisitedValue {
  std::string_view path;  // keys and positions from the root, joined by '/'
  std::string_view part;  // the last of them
  std::size_t depth;      // of the root 0
  Value value;
};

// Calls visit for the root and for what it holds, in the order of the file. What a container holds
// comes right after it if visit returned true. Enters dicts, sequences and objects, under the same
// bound as tensors().
void walk(const StateDict& state, const std::function<bool(const VisitedValue&)>& visit);

}  // namespace transload
