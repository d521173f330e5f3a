// Reads the bytes of pieces as they were before they were encoded.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "transload/index.h"

namespace transload {

// For one thread. The index has to outlive it.
class PieceReader {
 public:
  explicit PieceReader(const Index& index);
  ~PieceReader();
  PieceReader(const PieceReader&) = delete;
  PieceReader& operator=(const PieceReader&) = delete;

  // Fills `bytes` from `offset` of the decoded piece on. Of a deflated piece ascending ranges cost
  // one pass; a range that lies before the last one starts it again. Throws IoError, FormatError.
  void read(std::uint32_t piece, std::uint64_t offset, std::span<std::byte> bytes);

  // What will be read soon, for the disk to fetch. Nothing for a deflated piece.
  void read_soon(std::uint32_t piece, std::uint64_t offset, std::uint64_t nbytes) const;

 private:
  class Inflating;  // one deflated piece, as far as it was read

  const Index& index_;
  std::unique_ptr<Inflating> inflating_;
};

}  // namespace transload
