// CRC-32s of pieces whose bytes pass by in any order, and their comparison with those that a file has.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "transload/index.h"

namespace transload {

// Sums of numbered pieces. Any thread may add any part of a piece, each byte once.
//
// The CRC-32 of a text is the XOR over its parts of each part's own CRC-32, shifted by the bytes that follow the part, so
// the order in which parts are added does not matter.
class Checksums {
 public:
  explicit Checksums(std::size_t count) : sums_(count) {}
  // `behind`: how many bytes of the piece follow these.
  void add(std::uint32_t number, std::span<const std::byte> bytes, std::uint64_t behind);
  std::uint32_t operator[](std::uint32_t number) const { return sums_[number]; }
  std::size_t size() const { return sums_.size(); }

 private:
  std::vector<std::atomic<std::uint32_t>> sums_;
};

// `found`: the CRC-32 of each of the pieces and metadata members `which`, by Transfer::reads. Throws FormatError with
// those that differ from what the file says.
void require_checksums(const Index& index, std::span<const std::uint32_t> which,
                       std::span<const std::uint32_t> found);

}  // namespace transload
