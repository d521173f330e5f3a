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

  // Of those of that hash the one that `is_it` says yes to; null if there is none. Valid until the next add().
  template <class IsIt>
  const Value* find(std::size_t hash, const IsIt& is_it) const {
    if (slots_.empty()) return nullptr;
    const std::uint32_t wanted = folded(hash);
    std::size_t steps = 0;
    for (std::size_t at = wanted & mask(); slots_[at].hash != kFree; at = (at + 1) & mask()) {
      if (slots_[at].hash == wanted && is_it(slots_[at].value)) return &slots_[at].value;
      if (++steps == kMostSteps) fail();
    }
    return nullptr;
  }

  // The caller knows that it is not there.
  void add(std::size_t hash, Value value) {
    if ((used_ + 1) * 2 > slots_.size()) resize(slots_.size() * 2);
    put({folded(hash), value});
    ++used_;
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

  void put(const Slot& slot) {
    std::size_t at = slot.hash & mask(), steps = 0;
    for (; slots_[at].hash != kFree; at = (at + 1) & mask()) {
      if (++steps == kMostSteps) fail();
    }
    slots_[at] = slot;
  }

  void resize(std::size_t least) {
    std::size_t size = 64;
    while (size < least) size *= 2;
    Table<Slot> old(size);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.hash != kFree) put(slot);
    }
  }

  Table<Slot> slots_;  // a power of two, at most half of them used
  std::size_t used_ = 0;
};

}  // namespace transload
