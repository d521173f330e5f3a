// A file that is written beside its target and takes its place whole, or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace transload {

// Until commit() the target is untouched; without it the destructor removes what was written.
class AtomicFile {
 public:
  // Throws IoError: no such folder, no permission.
  explicit AtomicFile(const std::filesystem::path& target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::filesystem::path& path() const { return path_; }  // of what is being written
  // Takes the room on the disk now: IoError if there is not as much.
  void reserve(std::uint64_t nbytes);
  // Any thread may write any place. Long stretches that lie in memory as in the file, at the same distance from a multiple
  // of kAlignment, go to the disk past the page cache: through it a durable save takes up to twice as long.
  void write(std::uint64_t offset, std::span<const std::byte> bytes) const;
  static constexpr std::uint64_t kAlignment = 4096;
  bool wants_aligned(std::uint64_t nbytes) const;  // whether for so many bytes a copy pays
  // Syncs the file, renames it over the target, syncs the folder.
  void commit();

 private:
  std::filesystem::path target_, path_;
  int descriptor_ = -1;
  int direct_ = -1;  // the same file; -1: what is written goes through the page cache
  bool committed_ = false;
};

// The same of a folder, which must not be there yet, or be empty: IoError.
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
  int descriptor_ = -1;
  bool committed_ = false;
};

// Files and folders beside `target` that killed saves have left; not those of a save that still runs.
std::vector<std::filesystem::path> leftovers(const std::filesystem::path& target);

}  // namespace transload
