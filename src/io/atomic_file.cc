#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "io/file.h"
#include "transload/error.h"
#include "types/checked.h"

namespace transload {
namespace {

constexpr std::string_view kSuffix = ".saving";
constexpr std::uint64_t kLeastDirect = 256 << 10;  // less is written sooner through the page cache

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what,
                       int error_number) {
  throw IoError(path.string() + ": " + what + ": " + std::strerror(error_number), error_number);
}

std::filesystem::path folder_of(const std::filesystem::path& target) {
  return target.has_parent_path() ? target.parent_path() : std::filesystem::path(".");
}

// Of what is being written, with room for mkstemp's letters.
std::string name_beside(const std::filesystem::path& target) {
  return (folder_of(target) / ("." + target.filename().string() + ".XXXXXX")).string();
}

void rename_and_sync(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (rename(from.c_str(), to.c_str()) != 0)
    fail(to, "cannot be replaced by " + from.string(), errno);
  const int folder = ::open(folder_of(to).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) fail(folder_of(to), "the folder cannot be opened to sync it", errno);
  const int synced = fsync(folder);
  const int why = errno;
  close(folder);
  if (synced != 0 && why != EINVAL) fail(folder_of(to), "the folder cannot be synced", why);
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& target) : target_(target) {
  // A link is followed: what it points to is replaced, not the link.
  std::error_code ignored;
  if (std::filesystem::is_symlink(target_, ignored)) {
    const std::filesystem::path linked = std::filesystem::weakly_canonical(target_, ignored);
    if (linked.empty()) fail(target_, "the link leads nowhere", ignored.value());
    target_ = linked;
  }
  std::string name = name_beside(target_) + std::string(kSuffix);
  descriptor_ = mkostemps(name.data(), static_cast<int>(kSuffix.size()), O_CLOEXEC);
  if (descriptor_ < 0) fail(target_, "a file beside it cannot be made", errno);
  path_ = name;
  flock(descriptor_, LOCK_EX | LOCK_NB);  // as long as it is held, the file is no leftover
  // The rights that the old file has, or those of a new one.
  struct stat old;
  const mode_t mask = umask(0);
  umask(mask);
  direct_ = ::open(path_.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC);  // not every file system has it
  fchmod(descriptor_, stat(target_.c_str(), &old) == 0 ? old.st_mode & 07777 : 0666 & ~mask);
}

AtomicFile::~AtomicFile() {
  if (!committed_) unlink(path_.c_str());
  if (direct_ >= 0) close(direct_);
  if (descriptor_ >= 0) close(descriptor_);
}

void AtomicFile::reserve(std::uint64_t nbytes) {
  if (nbytes == 0 || fallocate(descriptor_, 0, 0, static_cast<off_t>(nbytes)) == 0) return;
  if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR)
    return;  // found out while writing, then
  const int why = errno;
  std::error_code ignored;
  const auto space = std::filesystem::space(folder_of(target_), ignored);
  fail(target_,
       "no room for " + std::to_string(nbytes) + " bytes (" + human_bytes(space.available) +
           " are free); the old file is untouched",
       why);
}

bool AtomicFile::wants_aligned(std::uint64_t nbytes) const {
  return direct_ >= 0 && nbytes >= kLeastDirect;
}

void AtomicFile::write(std::uint64_t offset, std::span<const std::byte> bytes) const {
  const bool in_phase =
      reinterpret_cast<std::uintptr_t>(bytes.data()) % kAlignment == offset % kAlignment;
  if (in_phase && wants_aligned(bytes.size())) {
    const std::uint64_t before = round_up(offset, kAlignment) - offset;
    const std::uint64_t whole = (bytes.size() - before) / kAlignment * kAlignment;
    try {
      write_at(direct_, path_, offset + before, bytes.subspan(before, whole));
      write_at(descriptor_, path_, offset, bytes.first(before));
      offset += before + whole;
      bytes = bytes.subspan(before + whole);
    } catch (const IoError& error) {
      if (error.error_number() != EINVAL) throw;  // a file system with other wishes
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
    // "out/" and "out" are one folder
    : target_(target.has_filename() ? target : target.parent_path()) {
  std::error_code ignored;
  if (std::filesystem::exists(target_, ignored) && !std::filesystem::is_empty(target_, ignored))
    fail(target_, "is there and not empty; name a new folder for the shards", EEXIST);
  std::string name = name_beside(target_);
  if (!mkdtemp(name.data())) fail(target_, "a folder beside it cannot be made", errno);
  path_ = name + std::string(kSuffix);
  if (rename(name.c_str(), path_.c_str()) != 0)
    fail(target_, "a folder beside it cannot be made", errno);
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ >= 0) flock(descriptor_, LOCK_EX | LOCK_NB);
  const mode_t mask = umask(0);
  umask(mask);
  chmod(path_.c_str(), 0777 & ~mask);
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_) std::filesystem::remove_all(path_, ignored);
  if (descriptor_ >= 0) close(descriptor_);
}

void AtomicFolder::commit() {
  if (descriptor_ < 0 || fsync(descriptor_) != 0) fail(path_, "the folder cannot be synced", errno);
  rename_and_sync(path_, target_);
  committed_ = true;
}

std::vector<std::filesystem::path> leftovers(const std::filesystem::path& target) {
  std::vector<std::filesystem::path> found;
  const std::string prefix = "." + target.filename().string() + ".";
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(target), error)) {
    const std::string name = entry.path().filename().string();
    if (name.size() != prefix.size() + 6 + kSuffix.size() || !name.starts_with(prefix) ||
        !name.ends_with(kSuffix))
      continue;
    const int descriptor = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) continue;
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) found.push_back(entry.path());
    close(descriptor);
  }
  return found;
}

}  // namespace transload
