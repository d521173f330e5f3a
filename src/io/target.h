// What stands at the place that a save writes to, and what of it a new file takes over. AtomicFile asks before it writes.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace transload {

struct Target {
  enum class Kind : std::uint8_t {
    absent,  // nothing, or a link to nothing
    file,    // a regular file
    stream   // a pipe or a character device: bytes are written to it in order
  };
  std::filesystem::path name;  // as the caller gave it, for errors
  std::filesystem::path path;  // where its symbolic links lead to; `name` for a stream
  Kind kind = Kind::absent;
  struct stat about {};  // of a file or a stream
};

// Follows symbolic links, also to a file that does not exist yet. Throws IoError for what cannot be written as a file: a
// folder, a socket, a block device, links in a circle.
Target find_target(const std::filesystem::path& name);

// Returns where the symbolic links of a name lead to, whether or not anything is there. Throws IoError for a circle.
std::filesystem::path followed(const std::filesystem::path& name);

// The folder that a file lies in: "." for a name alone.
std::filesystem::path folder_of(const std::filesystem::path& path);

// Throws IoError, with the cause and the way out, if a rename over the file is known to fail: a file that is mounted by
// itself, a file of another user in a sticky folder.
void require_replaceable(const Target& target);

// Throws the IoError for a target that no other file can take the place of.
[[noreturn]] void fail_to_replace(const Target& target, int error_number);

// Gives a new file the owner, mode, ACL and extended attributes of the target, as far as this process may. Returns what it
// could not keep: "its owner (user 1000)". What a group or an owner is not given, its permissions are not either.
std::vector<std::string> take_over_attributes(const Target& target, int descriptor);

}  // namespace transload
