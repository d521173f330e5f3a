// Looks at the target of a save before anything is written, so that a save that cannot succeed fails at once.
#include "io/target.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "transload/error.h"

namespace transload {
namespace {

constexpr mode_t kPermissions = 07777;  // the permission bits of st_mode

// Attributes that describe the old bytes or grant rights to them.
constexpr std::array<std::string_view, 3> kNotTakenOver = {"security.ima", "security.evm",
                                                           "security.capability"};
constexpr std::string_view kAcl = "system.posix_acl_access";

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what,
                       int error_number) {
  throw IoError(path.string() + ": " + what + ": " + std::strerror(error_number), error_number);
}

bool is_mounted_by_itself(const std::filesystem::path& path) {
  struct statx about {};
  return statx(AT_FDCWD, path.c_str(), 0, STATX_TYPE, &about) == 0 &&
         (about.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

// Returns the names of the extended attributes of a file; none if the file system has none.
std::vector<std::string> attributes_of(const std::filesystem::path& path) {
  std::string names(
      static_cast<std::size_t>(std::max<ssize_t>(0, listxattr(path.c_str(), nullptr, 0))), '\0');
  const ssize_t nbytes = names.empty() ? 0 : listxattr(path.c_str(), names.data(), names.size());
  names.resize(static_cast<std::size_t>(std::max<ssize_t>(0, nbytes)));
  std::vector<std::string> list;
  for (std::size_t begin = 0; begin < names.size();) {
    list.emplace_back(names.c_str() + begin);
    begin += list.back().size() + 1;
  }
  return list;
}

bool copy_attribute(const std::filesystem::path& from, const std::string& name, int to) {
  const ssize_t nbytes = getxattr(from.c_str(), name.c_str(), nullptr, 0);
  if (nbytes < 0) return false;
  std::string value(static_cast<std::size_t>(nbytes), '\0');
  const ssize_t got = getxattr(from.c_str(), name.c_str(), value.data(), value.size());
  return got >= 0 &&
         fsetxattr(to, name.c_str(), value.data(), static_cast<std::size_t>(got), 0) == 0;
}

// Returns the mode that may be given: none of the rights of an owner or a group that the file does not have.
mode_t take_over_owner(const struct stat& old, int descriptor, std::vector<std::string>& lost) {
  mode_t mode = old.st_mode & kPermissions;
  struct stat now {};
  if (fstat(descriptor, &now) != 0) return mode & 0700;
  if (now.st_uid == old.st_uid && now.st_gid == old.st_gid) return mode;
  if (fchown(descriptor, old.st_uid, old.st_gid) == 0) return mode;
  if (now.st_uid != old.st_uid) {
    lost.push_back("its owner (user " + std::to_string(old.st_uid) + ")");
    mode &= static_cast<mode_t>(~S_ISUID);
  }
  if (now.st_gid != old.st_gid && fchown(descriptor, static_cast<uid_t>(-1), old.st_gid) != 0) {
    lost.push_back("its group (" + std::to_string(old.st_gid) + ")");
    const mode_t of_others = (mode & S_IRWXO) << 3;
    mode &= static_cast<mode_t>(~S_ISGID) & (of_others | static_cast<mode_t>(~S_IRWXG));
  }
  return mode;
}

}  // namespace

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::filesystem::path followed(const std::filesystem::path& name) {
  constexpr int kMostLinks = 40;  // as many as Linux follows
  std::filesystem::path path = name;
  for (int i = 0; i < kMostLinks; ++i) {
    std::error_code error;
    const std::filesystem::path to = std::filesystem::read_symlink(path, error);
    if (error) return path;
    path = to.is_absolute() ? to : path.parent_path() / to;
  }
  fail(name, "cannot be written to", ELOOP);
}

Target find_target(const std::filesystem::path& name) {
  Target target{.name = name, .path = name};
  if (stat(name.c_str(), &target.about) != 0) {
    if (errno != ENOENT) fail(name, "cannot be written to", errno);
    target.path = followed(name);
    if (!target.path.has_filename()) fail(name, "cannot be written to", EISDIR);
    return target;
  }
  const mode_t mode = target.about.st_mode;
  if (S_ISDIR(mode)) fail(name, "expected the name of a file, found a directory", EISDIR);
  if (S_ISSOCK(mode)) fail(name, "a socket cannot be written to by its name", ENXIO);
  if (S_ISBLK(mode)) {
    throw IoError(name.string() +
                      ": expected a file, found a block device, whose file system would be "
                      "overwritten; save to a file and copy it there",
                  ENOTSUP);
  }
  target.kind = Target::Kind::stream;
  if (!S_ISREG(mode)) return target;
  // /dev/stdout may lead to an open file that no path leads to any more; it is written to where it is.
  const std::filesystem::path path = followed(name);
  struct stat there {};
  if (stat(path.c_str(), &there) != 0 || there.st_ino != target.about.st_ino ||
      there.st_dev != target.about.st_dev)
    return target;
  target.path = path;
  target.kind = Target::Kind::file;
  return target;
}

void require_replaceable(const Target& target) {
  if (target.kind != Target::Kind::file) return;
  if (is_mounted_by_itself(target.path)) fail_to_replace(target, EBUSY);
  struct stat folder {};
  if (stat(folder_of(target.path).c_str(), &folder) != 0 || !(folder.st_mode & S_ISVTX)) return;
  const uid_t user = geteuid();
  if (user != 0 && user != folder.st_uid && user != target.about.st_uid)
    fail_to_replace(target, EPERM);
}

void fail_to_replace(const Target& target, int error_number) {
  std::string why;
  if (error_number == EBUSY)
    why = "it is mounted by itself";
  else if (error_number == EPERM)
    why = "its folder or the file itself does not permit it";
  else
    why = "its folder is not writable";
  throw IoError(target.name.string() + ": cannot be replaced, because " + why + " (" +
                    std::strerror(error_number) +
                    "); the old file is untouched\n"
                    "  save to another folder and copy the file here, or pass in_place to write "
                    "into the old file, which a crash meanwhile would leave damaged",
                error_number);
}

std::vector<std::string> take_over_attributes(const Target& target, int descriptor) {
  std::vector<std::string> lost;
  if (target.kind != Target::Kind::file) return lost;
  const mode_t mode = take_over_owner(target.about, descriptor, lost);
  const bool keeps_group_rights = (mode & S_IRWXG) == (target.about.st_mode & S_IRWXG);
  const std::vector<std::string> names = attributes_of(target.path);
  // The folder's default ACL is not the old file's.
  if (std::ranges::find(names, kAcl) == names.end()) fremovexattr(descriptor, kAcl.data());
  if (fchmod(descriptor, mode) != 0) lost.emplace_back("its mode");
  for (const std::string& name : names) {
    if (std::ranges::find(kNotTakenOver, name) != kNotTakenOver.end()) continue;
    // The mask of an ACL is the group's part of the mode.
    const bool kept =
        (name != kAcl || keeps_group_rights) && copy_attribute(target.path, name, descriptor);
    if (kept || name.starts_with("security.")) continue;  // which the system sets itself
    lost.push_back(name == kAcl ? "its access control list" : "its attribute " + name);
  }
  if (target.about.st_nlink > 1) {
    const auto others = target.about.st_nlink - 1;
    lost.push_back(std::to_string(others) + " other hard link" + (others > 1 ? "s" : "") +
                   " to it, which keep" + (others > 1 ? "" : "s") +
                   " the old contents (pass in_place to write into the file itself)");
  }
  return lost;
}

}  // namespace transload
