// The files of a layout while they are written: beside their target, which they replace when all is there.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "io/atomic_file.h"
#include "plan/layout.h"

namespace transload {

// One file, or several in a folder that must be new or empty. Until commit() the target is untouched; without it the
// destructor removes what was written.
class OutputFiles {
 public:
  // Takes the room on the disk. Throws IoError: no such folder, no permission, no room.
  OutputFiles(const std::filesystem::path& target, const Layout& layout);

  bool has_direct() const;
  std::span<const Output* const> files() const { return pointers_; }  // by number in Layout::files
  void write(const std::vector<Literal>& literals);
  // Syncs the files and puts them in the target's place.
  void commit();

 private:
  std::optional<AtomicFolder> folder_;
  std::vector<std::unique_ptr<AtomicFile>> files_;
  std::vector<const Output*> pointers_;
};

}  // namespace transload
