// A file while it is written: what the engine writes tensors' bytes to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace transload {

class Output {
 public:
  Output() = default;
  virtual ~Output() = default;
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  // Writes `bytes` at `offset`. Throws IoError.
  virtual void write(std::uint64_t offset, std::span<const std::byte> bytes) const = 0;
  // The same past the page cache, where there is such a way.
  virtual void write_direct(std::uint64_t offset, std::span<const std::byte> bytes) const {
    write(offset, bytes);
  }
};

}  // namespace transload
