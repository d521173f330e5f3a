// Reads the bytes of pieces and metadata members as they were before they were encoded.
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

  // Fills `bytes` from `offset` of the decoded piece on; `number` is as Transfer::reads. Ascending ranges of a deflated
  // piece take one pass over it; a range that lies before the last one starts again. Throws IoError, FormatError.
  void read(std::uint32_t number, std::uint64_t offset, std::span<std::byte> bytes);

 private:
  class Inflating;  // one deflated piece, as far as it was read

  const Index& index_;
  std::unique_ptr<Inflating> inflating_;
};

}  // namespace transload
