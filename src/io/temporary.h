// Files and folders beside a target that exist while a save of it runs: ".NAME.RANDOM.saving". A running save holds a lock
// on its own (flock); a killed one leaves it without the lock, and the next save of the target removes it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace transload {

struct TemporaryFile {
  std::filesystem::path path;  // empty: it has no name, and ends with its descriptor
  int descriptor = -1;
};

// Returns a new empty file on the file system of `folder`, open for reading and writing, without a name where the file
// system has such files; elsewhere beside `target`, which is in that folder. errno and descriptor -1 if it fails.
TemporaryFile make_file_beside(const std::filesystem::path& target, mode_t mode);

// Returns a new empty folder beside the target, with a descriptor that holds its lock. -1 and errno if it fails.
TemporaryFile make_folder_beside(const std::filesystem::path& target);

// Returns a new empty file without a name in the folder for temporary files (TMPDIR or /tmp). -1 and errno if it fails.
int make_unnamed_file();

// Gives a file without a name a temporary one beside the target. Returns "" and sets errno if it fails.
std::filesystem::path name_beside(const std::filesystem::path& target, int descriptor);

// Gives a file without a name this one. Returns false and sets errno if it fails: EEXIST if the name is taken.
bool name_file(int descriptor, const std::filesystem::path& path);

// Removes the temporary files and folders that killed saves of `target` left beside it, not those of saves that still run.
// Returns those that cannot be removed. Targets whose names agree in their first 240 bytes share their leftovers.
std::vector<std::filesystem::path> remove_leftovers(const std::filesystem::path& target);

}  // namespace transload
