// Writes a file so that its target is the old file or the new one at any time. transfer/output_files.cc makes one for each
// file of a layout, the mover fills it.
//
// Where the file system has it (O_TMPFILE), the file has no name until it is complete: what a kill leaves, the kernel
// removes. It gets a temporary name beside the target for the moment between linkat() and rename().
#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "io/file.h"
#include "io/temporary.h"
#include "transload/error.h"
#include "types/checked.h"

namespace transload {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what,
                       int error_number) {
  throw IoError(path.string() + ": " + what + ": " + std::strerror(error_number), error_number);
}

void sync_folder(const std::filesystem::path& path, const std::filesystem::path& name) {
  const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0 && errno == EACCES) return;  // a folder that may be written to and not listed
  if (folder < 0) fail(name, "is written, but its folder cannot be opened to sync it", errno);
  const int synced = fsync(folder);
  const int why = errno;
  close(folder);
  if (synced != 0 && why != EINVAL) fail(name, "is written, but its folder cannot be synced", why);
}

bool means_no_room(int error_number) {
  return error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
}

// Writes all bytes in order. Returns false and sets errno if it fails.
bool write_in_order(int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(descriptor, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return true;
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& target, Replacement replacement)
    : target_(find_target(target)),
      is_copied_(target_.kind == Target::Kind::stream ||
                 (target_.kind == Target::Kind::file && replacement == Replacement::in_place)) {
  if (is_copied_)
    open_elsewhere();
  else
    open_beside();
  direct_ = ::open(("/proc/self/fd/" + std::to_string(descriptor_)).c_str(),
                   O_WRONLY | O_DIRECT | O_CLOEXEC);  // not every file system has it
  if (!is_copied_) not_kept_ = take_over_attributes(target_, descriptor_);
}

AtomicFile::~AtomicFile() {
  if (!committed_ && !path_.empty()) unlink(path_.c_str());
  if (direct_ >= 0) close(direct_);
  close(descriptor_);
}

void AtomicFile::open_beside() {
  require_replaceable(target_);
  const bool replaces = target_.kind == Target::Kind::file;
  // A file that replaces another is never open to other users before it has that one's mode.
  const mode_t mode = replaces ? 0600 : 0666;
  TemporaryFile made = make_file_beside(target_.path, mode);
  if (made.descriptor < 0) {
    const int why = errno;
    if (replaces && (why == EACCES || why == EPERM || why == EROFS)) fail_to_replace(target_, why);
    fail(target_.name, "cannot create a file in its folder", why);
  }
  descriptor_ = made.descriptor;
  path_ = std::move(made.path);
  where_ = folder_of(target_.path);
}

// Bytes that will be copied to the target wait in a file without a name: beside it if that is possible.
void AtomicFile::open_elsewhere() {
  if (target_.kind == Target::Kind::file) {
    // Asked before anything is written.
    if (access(target_.path.c_str(), W_OK) != 0) fail(target_.name, "cannot be written to", errno);
    where_ = folder_of(target_.path);
    descriptor_ = ::open(where_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (descriptor_ >= 0) return;
  }
  std::error_code ignored;
  where_ = std::filesystem::temp_directory_path(ignored);
  descriptor_ = make_unnamed_file();
  if (descriptor_ < 0)
    fail(target_.name, "cannot create a temporary file in " + where_.string(), errno);
}

void AtomicFile::reserve(std::uint64_t nbytes) {
  // Any other failure means that the file system cannot; then a full disk shows while writing.
  if (nbytes == 0 || fallocate(descriptor_, 0, 0, static_cast<off_t>(nbytes)) == 0 ||
      !means_no_room(errno))
    return;
  const int why = errno;
  std::error_code ignored;
  const auto space = std::filesystem::space(where_, ignored);
  fail(target_.name,
       "no room for " + std::to_string(nbytes) + " bytes in " + where_.string() + " (" +
           human_bytes(space.available) + " are free); nothing was replaced",
       why);
}

void AtomicFile::write(std::uint64_t offset, std::span<const std::byte> bytes) const {
  write_at(descriptor_, target_.name, offset, bytes);
}

void AtomicFile::write_direct(std::uint64_t offset, std::span<const std::byte> bytes) const {
  const bool in_phase =
      reinterpret_cast<std::uintptr_t>(bytes.data()) % kAlignment == offset % kAlignment;
  const std::uint64_t before = round_up(offset, kAlignment) - offset;
  if (in_phase && direct_ >= 0 && bytes.size() > before) {
    const std::uint64_t whole = (bytes.size() - before) / kAlignment * kAlignment;
    try {
      write_at(direct_, target_.name, offset + before, bytes.subspan(before, whole));
      write_at(descriptor_, target_.name, offset, bytes.first(before));
      offset += before + whole;
      bytes = bytes.subspan(before + whole);
    } catch (const IoError& error) {
      if (error.error_number() != EINVAL) throw;  // a file system that wants another alignment
    }
  }
  write_at(descriptor_, target_.name, offset, bytes);
}

void AtomicFile::commit() {
  if (is_copied_)
    copy_to_target();
  else
    replace();
  committed_ = true;
}

void AtomicFile::replace() {
  if (fsync(descriptor_) != 0)
    fail(target_.name, "cannot be synced to the disk; nothing was replaced", errno);
  if (path_.empty()) {
    // A name that is free is taken at once.
    const bool placed =
        target_.kind == Target::Kind::absent && name_file(descriptor_, target_.path);
    if (placed) return sync_folder(folder_of(target_.path), target_.name);
    path_ = name_beside(target_.path, descriptor_);
    if (path_.empty()) fail(target_.name, "cannot get a temporary name in its folder", errno);
  }
  if (rename(path_.c_str(), target_.path.c_str()) != 0) {
    const int why = errno;
    if (why == EBUSY || why == EPERM || why == EACCES || why == EROFS)
      fail_to_replace(target_, why);
    fail(target_.name, "cannot be replaced", why);
  }
  path_.clear();
  sync_folder(folder_of(target_.path), target_.name);
}

void AtomicFile::copy_to_target() {
  struct stat about {};
  if (fstat(descriptor_, &about) != 0) fail(target_.name, "cannot be written to", errno);
  const bool is_file = target_.kind == Target::Kind::file;
  const int to =
      ::open(target_.path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | (is_file ? 0 : O_TRUNC));
  if (to < 0) fail(target_.name, "cannot be written to", errno);
  try {
    // So that a full disk shows while the old bytes are there.
    if (is_file && about.st_size > 0 && fallocate(to, FALLOC_FL_KEEP_SIZE, 0, about.st_size) != 0 &&
        means_no_room(errno))
      fail(target_.name,
           "no room for " + std::to_string(about.st_size) + " bytes; the old file is untouched",
           errno);
    copy_bytes(to, static_cast<std::uint64_t>(about.st_size));
    if (is_file && (ftruncate(to, about.st_size) != 0 || fsync(to) != 0))
      fail(target_.name, "cannot be synced to the disk, and may be damaged", errno);
  } catch (...) {
    close(to);
    throw;
  }
  // Some file systems report only here that bytes are lost.
  if (close(to) != 0 && errno != EINTR) fail(target_.name, "cannot be closed", errno);
}

void AtomicFile::copy_bytes(int to, std::uint64_t nbytes) {
  constexpr std::uint64_t kBuffer = 1 << 20;
  std::vector<std::byte> buffer(std::min(nbytes, kBuffer));
  for (std::uint64_t offset = 0; offset < nbytes;) {
    const ssize_t got = pread(descriptor_, buffer.data(), std::min(nbytes - offset, kBuffer),
                              static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      fail(target_.name, "its temporary file cannot be read again", got < 0 ? errno : EIO);
    if (!write_in_order(to, std::span(buffer).first(static_cast<std::size_t>(got)))) {
      fail(target_.name,
           "writing at offset " + std::to_string(offset) +
               (target_.kind == Target::Kind::file ? "; the old file is lost" : ""),
           errno);
    }
    offset += static_cast<std::uint64_t>(got);
  }
}

AtomicFolder::AtomicFolder(const std::filesystem::path& target)
    // "out/" and "out" name the same folder
    : name_(target.has_filename() ? target : target.parent_path()), target_(followed(name_)) {
  std::error_code ignored;
  const bool exists = std::filesystem::exists(target_, ignored);
  if (exists && !std::filesystem::is_directory(target_, ignored)) {
    fail(name_, "exists and is not a folder; name a new folder for the shards", ENOTDIR);
  }
  if (exists && !std::filesystem::is_empty(target_, ignored))
    fail(name_, "exists and is not empty; name a new folder for the shards", EEXIST);
  struct stat about {};
  const bool has_old = stat(target_.c_str(), &about) == 0;
  TemporaryFile made = make_folder_beside(target_);
  if (made.descriptor < 0) fail(name_, "cannot create a folder beside it", errno);
  path_ = std::move(made.path);
  descriptor_ = made.descriptor;
  if (!has_old) return;
  if (fchown(descriptor_, about.st_uid, about.st_gid) == 0 || about.st_uid == geteuid())
    fchmod(descriptor_, about.st_mode & 07777);
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_) std::filesystem::remove_all(path_, ignored);
  close(descriptor_);
}

void AtomicFolder::commit() {
  if (fsync(descriptor_) != 0) fail(name_, "cannot be synced to the disk", errno);
  if (rename(path_.c_str(), target_.c_str()) != 0) {
    const int why = errno;
    if (why == EBUSY)
      fail(name_, "cannot be replaced, because it is mounted by itself; name a new folder", why);
    fail(name_, "cannot be replaced", why);
  }
  committed_ = true;
  sync_folder(folder_of(target_), name_);
}

}  // namespace transload
