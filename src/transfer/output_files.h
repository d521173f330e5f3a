// The files of a layout while they are written: beside their target, which they replace when all is there.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/atomic_file.h"
#include "plan/layout.h"

namespace transload {

// One file, or several in a folder that must be new or empty. Until commit() the target is untouched; without it the
// destructor removes what was written.
class OutputFiles {
 public:
  // Removes what killed saves of the target left, and takes the room on the disk. Throws IoError: no such folder, no
  // permission, no room; UnsupportedError for a folder that is to be written in place.
  OutputFiles(const std::filesystem::path& target, const Layout& layout,
              Replacement replacement = Replacement::atomic);

  bool has_direct() const;
  // Of killed saves, what cannot be removed.
  const std::vector<std::filesystem::path>& leftovers() const { return leftovers_; }
  std::vector<std::string> not_kept() const;  // of the files that are replaced
  std::span<const Output* const> files() const { return pointers_; }  // by number in Layout::files
  void write(const std::vector<Literal>& literals);
  // Syncs the files and puts them in the target's place.
  void commit();

 private:
  std::vector<std::filesystem::path> leftovers_;
  std::optional<AtomicFolder> folder_;
  std::vector<std::unique_ptr<AtomicFile>> files_;
  std::vector<const Output*> pointers_;
};

}  // namespace transload
