// A file that is written beside its target and takes its place whole, or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
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

  int descriptor() const { return descriptor_; }
  const std::filesystem::path& path() const { return path_; }  // of what is being written
  // Takes the room on the disk now: IoError if there is not as much.
  void reserve(std::uint64_t nbytes);
  // Has the disk begin with what was written there, while the rest is; commit() then waits for less.
  void start_writing(std::uint64_t offset, std::uint64_t nbytes) const;
  // Syncs the file, renames it over the target, syncs the folder.
  void commit();

 private:
  std::filesystem::path target_, path_;
  int descriptor_ = -1;
  bool committed_ = false;
};

// Files beside `target` that saves have left that were killed. Those of a save that still runs are not among them.
std::vector<std::filesystem::path> leftovers(const std::filesystem::path& target);

}  // namespace transload
