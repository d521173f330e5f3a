// StateDictBuilder: makes state dicts of nested values, whatever Python's pickle can nest: shared
// containers, containers that contain themselves, tuples, sets, keys that are not texts, objects.
// For a flat dict, StateDict::set() is enough.
//
//   StateDictBuilder b;
//   const auto checkpoint = b.dict();
//   b.set(checkpoint, "model", model);  // a StateDict; tensors of one storage stay tied
//   b.set(checkpoint, "epoch", 3);
//   b.set(checkpoint, "shape", b.tuple({b.add(3), b.add(4)}));
//   save(b.build(checkpoint), "checkpoint.pt");
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>

#include "transload/state_dict.h"

namespace transload {

// Not for several threads at once. Values are numbered by handles, which mean nothing to another
// builder: a function throws Error if a handle is not one of this builder's. All throw FormatError
// beyond 2^32 - 2 values.
class StateDictBuilder {
 public:
  enum class Handle : std::uint32_t {};

  StateDictBuilder();
  ~StateDictBuilder();
  StateDictBuilder(StateDictBuilder&&) noexcept;
  StateDictBuilder& operator=(StateDictBuilder&&) noexcept;

  // None, bool, int, float, text, tensor, dtype, device, or a copy of all that a state dict holds.
  // Tensors over one storage, by Storage::identity(), share it in the file.
  Handle add(const Item& item);

  // Two's complement, little-endian, of any length.
  Handle big_integer(std::span<const std::byte> value);
  Handle complex(std::complex<double> value);
  Handle bytes(std::span<const std::byte> value);
  Handle bytearray(std::span<const std::byte> value);
  Handle device(std::string_view name);  // also of kinds that Device does not have: "mps:0"
  Handle global(std::string_view module, std::string_view name);
  Handle storage(const Storage& storage, Dtype dtype);  // a bare torch storage

  // Empty ones, which may contain themselves.
  Handle list();
  Handle set();
  Handle dict();
  Handle ordered_dict();

  Handle tuple(std::span<const Handle> items);
  Handle tuple(std::initializer_list<Handle> items) { return tuple(std::span(items)); }
  Handle size(std::span<const Handle> items);  // a torch.Size of ints
  Handle frozenset(std::span<const Handle> items);

  // What `callable` would make of `arguments`, as pickle states it. Nothing is called.
  Handle object(Handle callable, Handle arguments, Made made);

  // Adds items to a list or set; to an object, the values to append to it.
  void append(Handle list, std::span<const Handle> items);
  void append(Handle list, const Item& item);

  // Sets the value of a key of a dict; of an object, an entry to set in it. Throws Error if the key
  // cannot be one: see can_be_key().
  void set(Handle dict, Handle key, Handle value);
  void set(Handle dict, std::string_view key, Handle value);
  void set(Handle dict, std::string_view key, const Item& item);
  void set(Handle dict, std::int64_t key, const Item& item);

  // None, bool, int, float, text, bytes, and tuples of them; not a list, dict or set.
  bool can_be_key(Handle value) const;

  // A dict for an ordered_dict or a tensor; for an object its state, any value.
  void set_attributes(Handle value, Handle attributes);

  // Returns `root` and all that it contains, and leaves the builder empty.
  StateDict build(Handle root);

 private:
  struct Content;
  std::unique_ptr<Content> content_;
};

}  // namespace transload
