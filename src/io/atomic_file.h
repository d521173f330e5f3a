// Files and folders that replace their target whole or not at all: written beside it under a temporary name, synced, and
// renamed over it. A crash at any time leaves the old file or the new one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "io/output.h"

namespace transload {

// The target is untouched until commit(). Without a commit the destructor removes the temporary file.
//
// The new file gets the mode of the file that it replaces; where there is none, 0666 without the bits of the umask.
class AtomicFile final : public Output {
 public:
  // Throws IoError if no file can be created in the target's folder.
  explicit AtomicFile(const std::filesystem::path& target);
  ~AtomicFile() override;

  const std::filesystem::path& path() const { return path_; }  // of the temporary file
  // Allocates disk space for the first `nbytes` bytes. Throws IoError if there is not enough.
  void reserve(std::uint64_t nbytes);
  // Writes `bytes` at `offset`; any thread may call it.
  void write(std::uint64_t offset, std::span<const std::byte> bytes) const override;
  // The same past the page cache, through which a durable save takes up to twice as long. Only the whole pages of bytes
  // that lie in memory as in the file, at the same distance from a multiple of kAlignment, can be written that way; the
  // others, and all if the file system does not have it, are written as by write().
  void write_direct(std::uint64_t offset, std::span<const std::byte> bytes) const override;
  static constexpr std::uint64_t kAlignment = 4096;
  bool has_direct() const { return direct_ >= 0; }
  // Syncs the file, renames it over the target and syncs the folder. Throws IoError.
  void commit();

 private:
  std::filesystem::path target_, path_;
  int descriptor_ = -1;
  int direct_ = -1;  // the same file, opened with O_DIRECT; -1 if the file system does not have it
  bool committed_ = false;
};

// The same for a folder. Throws IoError if the target exists and is not empty.
class AtomicFolder {
 public:
  explicit AtomicFolder(const std::filesystem::path& target);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void commit();

 private:
  std::filesystem::path target_, path_;
  int descriptor_ = -1;  // holds the lock
  bool committed_ = false;
};

// Returns the temporary files and folders that killed saves of `target` left beside it, not those of saves that still run.
// Targets whose names agree in their first 240 bytes share their leftovers.
std::vector<std::filesystem::path> leftovers(const std::filesystem::path& target);

}  // namespace transload
