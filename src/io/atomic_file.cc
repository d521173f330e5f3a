// Files and folders that appear whole: written under a temporary name beside the target, synced, then renamed over it.
// save.cc makes them, transfer/write.cc fills them.
//
// A temporary name is ".NAME.RANDOM.saving". While a save runs it holds a lock on its temporary file (flock); a killed save
// leaves the file without the lock, and leftovers() finds it. The process's umask is never touched: to learn it with
// umask() would give other threads' new files the wrong mode in that moment. The kernel applies it in open() and mkdir().
#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "io/file.h"
#include "transload/error.h"
#include "types/checked.h"

namespace transload {
namespace {

constexpr std::string_view kSuffix = ".saving";
constexpr std::size_t kRandomLetters = 6;
constexpr mode_t kPermissions = 07777;  // the permission bits of st_mode

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what,
                       int error_number) {
  throw IoError(path.string() + ": " + what + ": " + std::strerror(error_number), error_number);
}

std::filesystem::path folder_of(const std::filesystem::path& target) {
  return target.has_parent_path() ? target.parent_path() : std::filesystem::path(".");
}

// Returns ".NAME.", the beginning of the target's temporary names. A long name is cut so that they fit into NAME_MAX bytes,
// between two characters of UTF-8 because some file systems refuse any other text.
std::string temporary_prefix(const std::filesystem::path& target) {
  std::string name = target.filename().string();
  std::size_t length =
      NAME_MAX - kRandomLetters - kSuffix.size() - 2;  // 2: the dots around the name
  if (name.size() > length) {
    while (length > 0 && (static_cast<unsigned char>(name[length]) & 0xC0) == 0x80) --length;
    name.resize(length);
  }
  return "." + name + ".";
}

std::string random_letters() {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  std::random_device random;
  std::uniform_int_distribution<std::size_t> any(0, kLetters.size() - 1);
  std::string letters(kRandomLetters, ' ');
  for (char& letter : letters) letter = kLetters[any(random)];
  return letters;
}

// Calls make(path) with temporary names beside the target until one is free. `make` returns a negative number and sets errno
// if it fails. Returns the name that was made, and what `make` returned.
template <class Make>
std::pair<std::filesystem::path, int> make_beside(const std::filesystem::path& target,
                                                  const char* kind, const Make& make) {
  constexpr int kTries = 100;
  const std::string prefix = temporary_prefix(target);
  for (int i = 0; i < kTries; ++i) {
    const auto path = folder_of(target) / (prefix + random_letters() + std::string(kSuffix));
    const int made = make(path.c_str());
    if (made >= 0) return {path, made};
    if (errno != EEXIST) break;
  }
  fail(target, std::string("cannot create a temporary ") + kind + " beside it", errno);
}

// Returns the permission bits of an existing file or folder.
std::optional<mode_t> mode_of(const std::filesystem::path& path) {
  struct stat about;
  if (stat(path.c_str(), &about) != 0) return std::nullopt;
  return about.st_mode & kPermissions;
}

// Locks a temporary file or folder for as long as `descriptor` is open, which tells leftovers() that its save still runs.
void mark_as_running(int descriptor) { flock(descriptor, LOCK_EX | LOCK_NB); }

void rename_and_sync(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (rename(from.c_str(), to.c_str()) != 0)
    fail(to, "cannot be replaced by " + from.string(), errno);
  const int folder = ::open(folder_of(to).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) fail(folder_of(to), "cannot open the folder to sync it", errno);
  const int synced = fsync(folder);
  const int why = errno;
  close(folder);
  if (synced != 0 && why != EINVAL) fail(folder_of(to), "cannot sync the folder", why);
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& target) : target_(target) {
  // A symbolic link is followed: the file that it points to is replaced, and the link stays.
  std::error_code ignored;
  if (std::filesystem::is_symlink(target_, ignored)) {
    const std::filesystem::path linked = std::filesystem::weakly_canonical(target_, ignored);
    if (linked.empty()) fail(target_, "cannot follow the symbolic link", ignored.value());
    target_ = linked;
  }
  // A file that replaces another gets its mode, and is never open to other users before.
  const std::optional<mode_t> old_mode = mode_of(target_);
  const mode_t mode = (old_mode.value_or(0666) & 0666) | 0600;
  std::tie(path_, descriptor_) = make_beside(target_, "file", [mode](const char* path) {
    return ::open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  });
  mark_as_running(descriptor_);
  direct_ = ::open(path_.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC);  // not every file system has it
  if (old_mode) fchmod(descriptor_, *old_mode);
}

AtomicFile::~AtomicFile() {
  if (!committed_) unlink(path_.c_str());
  if (direct_ >= 0) close(direct_);
  close(descriptor_);
}

void AtomicFile::reserve(std::uint64_t nbytes) {
  if (nbytes == 0 || fallocate(descriptor_, 0, 0, static_cast<off_t>(nbytes)) == 0) return;
  if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR)
    return;  // a full disk shows while writing, then
  const int why = errno;
  std::error_code ignored;
  const auto space = std::filesystem::space(folder_of(target_), ignored);
  fail(target_,
       "no room for " + std::to_string(nbytes) + " bytes (" + human_bytes(space.available) +
           " are free); the old file is untouched",
       why);
}

void AtomicFile::write(std::uint64_t offset, std::span<const std::byte> bytes) const {
  write_at(descriptor_, path_, offset, bytes);
}

void AtomicFile::write_direct(std::uint64_t offset, std::span<const std::byte> bytes) const {
  const bool in_phase =
      reinterpret_cast<std::uintptr_t>(bytes.data()) % kAlignment == offset % kAlignment;
  const std::uint64_t before = round_up(offset, kAlignment) - offset;
  if (in_phase && direct_ >= 0 && bytes.size() > before) {
    const std::uint64_t whole = (bytes.size() - before) / kAlignment * kAlignment;
    try {
      write_at(direct_, path_, offset + before, bytes.subspan(before, whole));
      write_at(descriptor_, path_, offset, bytes.first(before));
      offset += before + whole;
      bytes = bytes.subspan(before + whole);
    } catch (const IoError& error) {
      if (error.error_number() != EINVAL) throw;  // a file system that wants another alignment
    }
  }
  write_at(descriptor_, path_, offset, bytes);
}

void AtomicFile::commit() {
  if (fsync(descriptor_) != 0)
    fail(path_, "syncing to the disk failed; the old file is untouched", errno);
  rename_and_sync(path_, target_);
  committed_ = true;
}

AtomicFolder::AtomicFolder(const std::filesystem::path& target)
    // "out/" and "out" name the same folder
    : target_(target.has_filename() ? target : target.parent_path()) {
  std::error_code ignored;
  if (std::filesystem::exists(target_, ignored) && !std::filesystem::is_empty(target_, ignored))
    fail(target_, "exists and is not empty; name a new folder for the shards", EEXIST);
  const std::optional<mode_t> old_mode = mode_of(target_);
  path_ = make_beside(target_, "folder", [](const char* path) { return mkdir(path, 0777); }).first;
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0) {
    const int why = errno;
    std::filesystem::remove(path_, ignored);
    fail(path_, "cannot open the new folder", why);
  }
  mark_as_running(descriptor_);
  if (old_mode) fchmod(descriptor_, *old_mode);
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_) std::filesystem::remove_all(path_, ignored);
  close(descriptor_);
}

void AtomicFolder::commit() {
  if (fsync(descriptor_) != 0) fail(path_, "cannot sync the folder", errno);
  rename_and_sync(path_, target_);
  committed_ = true;
}

std::vector<std::filesystem::path> leftovers(const std::filesystem::path& target) {
  std::vector<std::filesystem::path> found;
  const std::string prefix = temporary_prefix(target);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(target), error)) {
    const std::string name = entry.path().filename().string();
    if (name.size() != prefix.size() + kRandomLetters + kSuffix.size() ||
        !name.starts_with(prefix) || !name.ends_with(kSuffix))
      continue;
    const int descriptor = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) continue;
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) found.push_back(entry.path());
    close(descriptor);
  }
  return found;
}

}  // namespace transload
