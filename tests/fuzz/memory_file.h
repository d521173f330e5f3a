// Bytes as a file with a path, in memory.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>

namespace transload::fuzz {

class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0) std::abort();
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  void set(std::span<const std::uint8_t> bytes) {
    if (ftruncate(descriptor_, 0) != 0) std::abort();
    const auto nbytes = static_cast<ssize_t>(bytes.size());
    if (nbytes && pwrite(descriptor_, bytes.data(), bytes.size(), 0) != nbytes) std::abort();
  }
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace transload::fuzz
