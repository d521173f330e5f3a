// Makes, names and removes the temporary files of saves. The process's umask is never touched: to learn it with umask()
// would give other threads' new files the wrong mode in that moment. The kernel applies it in open() and mkdir().
#include "io/temporary.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <random>
#include <string_view>

#include "io/target.h"

namespace transload {
namespace {

constexpr std::string_view kSuffix = ".saving";
constexpr std::size_t kRandomLetters = 6;
constexpr int kTries = 100;

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

std::filesystem::path random_name_beside(const std::filesystem::path& target) {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  std::random_device random;
  std::uniform_int_distribution<std::size_t> any(0, kLetters.size() - 1);
  std::string letters(kRandomLetters, ' ');
  for (char& letter : letters) letter = kLetters[any(random)];
  return folder_of(target) / (temporary_prefix(target) + letters + std::string(kSuffix));
}

// The name under /proc by which a file without a name is opened again and linked.
std::string proc_name(int descriptor) { return "/proc/self/fd/" + std::to_string(descriptor); }

// -1 if the file system or /proc does not have what a file without a name needs.
int open_unnamed(const std::filesystem::path& folder, mode_t mode) {
  const int descriptor = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
  if (descriptor < 0 || access(proc_name(descriptor).c_str(), F_OK) == 0) return descriptor;
  close(descriptor);
  errno = EOPNOTSUPP;
  return -1;
}

bool lock(int descriptor) { return flock(descriptor, LOCK_EX | LOCK_NB) == 0; }

// Takes the lock of a file or folder that was just made. Returns false if another save took it for a leftover before; it
// is gone then, or will be in a moment.
bool lock_new(const TemporaryFile& made) {
  if (!lock(made.descriptor) && errno == EWOULDBLOCK) return false;
  struct stat about {};
  return lstat(made.path.c_str(), &about) == 0;
}

// Opens what may be a leftover, without following a link or waiting at a pipe. -1 if it is neither a file nor a folder.
int open_leftover(const std::filesystem::path& path) {
  struct stat about {};
  if (lstat(path.c_str(), &about) != 0) return -1;
  if (S_ISDIR(about.st_mode))
    return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (!S_ISREG(about.st_mode)) return -1;
  return ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
}

bool is_temporary_name(const std::string& name, const std::string& prefix) {
  return name.size() == prefix.size() + kRandomLetters + kSuffix.size() &&
         name.starts_with(prefix) && name.ends_with(kSuffix);
}

}  // namespace

TemporaryFile make_file_beside(const std::filesystem::path& target, mode_t mode) {
  TemporaryFile made{.path = {}, .descriptor = open_unnamed(folder_of(target), mode)};
  if (made.descriptor >= 0) {
    lock(made.descriptor);  // for the moment in which it has a temporary name
    return made;
  }
  for (int i = 0; i < kTries; ++i) {
    made.path = random_name_beside(target);
    made.descriptor = ::open(made.path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (made.descriptor < 0 && errno != EEXIST) break;
    if (made.descriptor < 0) continue;
    if (lock_new(made)) return made;
    close(made.descriptor);
  }
  return {};
}

TemporaryFile make_folder_beside(const std::filesystem::path& target) {
  TemporaryFile made;
  for (int i = 0; i < kTries; ++i) {
    made.path = random_name_beside(target);
    if (mkdir(made.path.c_str(), 0777) != 0) {
      if (errno != EEXIST) break;
      continue;
    }
    made.descriptor = ::open(made.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (made.descriptor < 0 && errno != ENOENT) {
      const int why = errno;
      rmdir(made.path.c_str());
      errno = why;
      break;
    }
    if (made.descriptor < 0) continue;
    if (lock_new(made)) return made;
    close(made.descriptor);
  }
  return {};
}

int make_unnamed_file() {
  std::error_code ignored;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(ignored);
  const int descriptor = open_unnamed(folder, 0600);
  if (descriptor >= 0) return descriptor;
  std::string name = (folder / "transload.XXXXXX").string();
  const int named = mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) unlink(name.c_str());
  return named;
}

bool name_file(int descriptor, const std::filesystem::path& path) {
  return linkat(AT_FDCWD, proc_name(descriptor).c_str(), AT_FDCWD, path.c_str(),
                AT_SYMLINK_FOLLOW) == 0;
}

std::filesystem::path name_beside(const std::filesystem::path& target, int descriptor) {
  for (int i = 0; i < kTries; ++i) {
    const std::filesystem::path path = random_name_beside(target);
    if (name_file(descriptor, path)) return path;
    if (errno != EEXIST) break;
  }
  return {};
}

std::vector<std::filesystem::path> remove_leftovers(const std::filesystem::path& target) {
  std::vector<std::filesystem::path> stay;
  const std::string prefix = temporary_prefix(target);
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder_of(target), error), end;
       !error && entry != end; entry.increment(error)) {
    const std::filesystem::path path = entry->path();
    if (!is_temporary_name(path.filename().string(), prefix)) continue;
    const int descriptor = open_leftover(path);
    if (descriptor < 0) continue;
    std::error_code failed;
    // The lock is held while it is removed: a save that just made it sees that, and makes another.
    if (lock(descriptor)) {
      std::filesystem::remove_all(path, failed);
      if (failed) stay.push_back(path);
    }
    close(descriptor);
  }
  return stay;
}

}  // namespace transload
