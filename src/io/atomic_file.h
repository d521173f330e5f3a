// Files and folders that replace their target whole or not at all: written under no name or a temporary one, synced, and
// renamed over it. A crash at any time leaves the old file or the new one. What cannot be replaced so, a pipe or a device,
// and a file that the caller wants written in place, gets the bytes in order when all of them are there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "io/output.h"
#include "io/target.h"

namespace transload {

enum class Replacement : std::uint8_t {
  atomic,  // the new file takes the place of the old one
  in_place  // the old file stays and gets the new bytes; a crash while they are copied leaves neither
};

// The target is untouched until commit(). Without a commit the destructor removes the temporary file.
//
// The new file gets the owner, mode, ACL and extended attributes of the file that it replaces, as far as this process may
// give them; where there is none, the mode 0666 without the bits of the umask.
class AtomicFile final : public Output {
 public:
  // Throws IoError if the target cannot be written to or replaced, or no file can be created in its folder. The error
  // names the cause and the way out.
  explicit AtomicFile(const std::filesystem::path& target,
                      Replacement replacement = Replacement::atomic);
  ~AtomicFile() override;

  // Of the temporary file; empty if it has no name.
  const std::filesystem::path& path() const { return path_; }
  // What of the old file the new one does not have: "its owner (user 1000)".
  const std::vector<std::string>& not_kept() const { return not_kept_; }
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
  // Syncs the file, renames it over the target and syncs the folder; or copies it to the target. Throws IoError.
  void commit();

 private:
  void open_beside();
  void open_elsewhere();
  void replace();
  void copy_to_target();
  void copy_bytes(int to, std::uint64_t nbytes);

  Target target_;
  bool is_copied_;               // to the target, which stays
  std::filesystem::path path_;   // of the temporary file; empty if it has no name
  std::filesystem::path where_;  // the folder that has its bytes
  std::vector<std::string> not_kept_;
  int descriptor_ = -1;
  int direct_ = -1;  // the same file, opened with O_DIRECT; -1 if the file system does not have it
  bool committed_ = false;
};

// The same for a folder. Throws IoError if the target exists and is not an empty folder.
class AtomicFolder {
 public:
  explicit AtomicFolder(const std::filesystem::path& target);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void commit();

 private:
  std::filesystem::path name_, target_, path_;
  int descriptor_ = -1;  // holds the lock
  bool committed_ = false;
};

}  // namespace transload
