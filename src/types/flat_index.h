// A hash index over keys that are stored elsewhere, in one block of memory: a million entries cost
// a few allocations. The keys of dicts and the names of zip members are found by it. Entries cannot
// be removed.
//
// Throws HashCollisionError once a search takes more than 1024 steps. Keys of honest files need a
// few dozen; a file whose keys were chosen to collide would make every search as long as the index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "transload/error.h"
#include "types/huge_pages.h"

namespace transload {

// A damaged file or an attack. It cannot say where: a caller that knows the file and the offset
// catches it and throws a FormatError with them.
class HashCollisionError : public FormatError {
 public:
  HashCollisionError()
      : FormatError(
            "more than 1024 keys have nearly the same hash, as if chosen to make reading slow; "
            "such a file is not "
            "read") {}
};

// Value: a small type that identifies the key, as a number.
template <class Value>
class FlatIndex {
 public:
  void reserve(std::size_t count) {
    if (count * 2 > slots_.size()) resize(count * 2);
  }

  // Returns the entry with that hash for which is_it(entry) holds, or null. Valid until an entry is
  // added.
  template <class IsIt>
  const Value* find(std::size_t hash, const IsIt& is_it) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[place_of(folded(hash), is_it)];
    return slot.hash == kFree ? nullptr : &slot.value;
  }

  // The same, but adds `value` if there is none, and then returns null.
  template <class IsIt>
  const Value* find_or_add(std::size_t hash, const IsIt& is_it, const Value& value) {
    if ((used_ + 1) * 2 > slots_.size()) resize(slots_.size() * 2);
    const std::uint32_t wanted = folded(hash);
    Slot& slot = slots_[place_of(wanted, is_it)];
    if (slot.hash != kFree) return &slot.value;
    slot = {wanted, value};
    ++used_;
    return nullptr;
  }

  // Starts to fetch the memory that find_or_add() will read.
  void prefetch(std::size_t hash) const {
    if (!slots_.empty()) __builtin_prefetch(&slots_[folded(hash) & mask()], 1);
  }

  // Adds an entry that is not there yet.
  void add(std::size_t hash, const Value& value) {
    find_or_add(
        hash, [](const Value&) { return false; }, value);
  }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::size_t kMaxSteps = 1024;
  struct Slot {
    std::uint32_t hash = kFree;
    Value value{};
  };

  // 32 bits of the hash, never kFree.
  static std::uint32_t folded(std::size_t hash) {
    const auto mixed = static_cast<std::uint32_t>((hash * 0x9E3779B97F4A7C15ull) >> 32);
    return mixed == kFree ? 1 : mixed;
  }
  std::size_t mask() const { return slots_.size() - 1; }

  // The slot that holds the entry, or the free one where it belongs.
  template <class IsIt>
  std::size_t place_of(std::uint32_t wanted, const IsIt& is_it) const {
    std::size_t at = wanted & mask();
    for (std::size_t steps = 0; slots_[at].hash != kFree; at = (at + 1) & mask()) {
      if (slots_[at].hash == wanted && is_it(slots_[at].value)) break;
      if (++steps == kMaxSteps) throw HashCollisionError();
    }
    return at;
  }

  void resize(std::size_t least) {
    std::size_t size = 64;
    while (size < least) size *= 2;
    Table<Slot> old(size);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.hash != kFree)
        slots_[place_of(slot.hash, [](const Value&) { return false; })] = slot;
    }
  }

  Table<Slot> slots_;  // a power of two, at most half of them used
  std::size_t used_ = 0;
};

}  // namespace transload
