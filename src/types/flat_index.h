// An index by hash over things that are held elsewhere, in one block of memory: a million entries cost no million
// allocations. Nothing is ever removed. Throws FormatError where so many hashes meet that somebody has chosen the keys for
// it: a search would take as long as there are entries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "transload/error.h"
#include "types/huge_pages.h"

namespace transload {

// Value: a small one that says which thing it is.
template <class Value>
class FlatIndex {
 public:
  void reserve(std::size_t count) {
    if (count * 2 > slots_.size()) resize(count * 2);
  }

  // The entry of that hash for which is_it(entry) holds; null if there is none. Valid until the next one is added.
  template <class IsIt>
  const Value* find(std::size_t hash, const IsIt& is_it) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[place_of(folded(hash), is_it)];
    return slot.hash == kFree ? nullptr : &slot.value;
  }

  // The same; where there is none `value` is added, and null returned.
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

  // Has memory fetch what find_or_add() will look at, while something else is done.
  void expect(std::size_t hash) const {
    if (!slots_.empty()) __builtin_prefetch(&slots_[folded(hash) & mask()], 1);
  }

  // The caller knows that it is not there.
  void add(std::size_t hash, const Value& value) {
    find_or_add(
        hash, [](const Value&) { return false; }, value);
  }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::size_t kMostSteps = 1024;  // of a hundred million keys a few dozen are met
  [[noreturn]] static void fail() {
    throw FormatError("keys that were made to have the same hash, which would make reading slow");
  }
  struct Slot {
    std::uint32_t hash = kFree;
    Value value{};
  };

  // 32 bits of it, never kFree.
  static std::uint32_t folded(std::size_t hash) {
    const auto mixed = static_cast<std::uint32_t>((hash * 0x9E3779B97F4A7C15ull) >> 32);
    return mixed == kFree ? 1 : mixed;
  }
  std::size_t mask() const { return slots_.size() - 1; }

  // Where it is, or would be.
  template <class IsIt>
  std::size_t place_of(std::uint32_t wanted, const IsIt& is_it) const {
    std::size_t at = wanted & mask();
    for (std::size_t steps = 0; slots_[at].hash != kFree; at = (at + 1) & mask()) {
      if (slots_[at].hash == wanted && is_it(slots_[at].value)) break;
      if (++steps == kMostSteps) fail();
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
