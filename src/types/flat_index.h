// An index by hash over things that are held elsewhere, in one block of memory: a million entries cost no million
// allocations. Nothing is ever removed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

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
    for (std::size_t at = wanted & mask(); slots_[at].hash != kFree; at = (at + 1) & mask()) {
      if (slots_[at].hash == wanted && is_it(slots_[at].value)) return &slots_[at].value;
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
    std::size_t at = slot.hash & mask();
    while (slots_[at].hash != kFree) at = (at + 1) & mask();
    slots_[at] = slot;
  }

  void resize(std::size_t least) {
    std::size_t size = 64;
    while (size < least) size *= 2;
    std::vector<Slot> old(size);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.hash != kFree) put(slot);
    }
  }

  std::vector<Slot> slots_;  // a power of two, at most half of them used
  std::size_t used_ = 0;
};

}  // namespace transload
