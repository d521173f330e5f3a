// Opened: a file or folder that was opened once, and what has been read of it so far. Formats are asked about it in turn;
// the scanner and recovery look at the same one.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "archive/zip_read.h"
#include "io/folder.h"
#include "transload/source.h"

namespace transload {

// For one thread at a time.
class Opened {
 public:
  // Opens a path, once. Throws IoError if it cannot be opened; UnsupportedError for a pipe or device.
  explicit Opened(const std::filesystem::path& path);
  explicit Opened(File file, std::optional<Folder> folder = std::nullopt);

  // For errors: the path, or what the caller of the library calls its source.
  const std::string& name() const { return name_; }
  bool is_folder() const { return !file_; }
  const File& file() const { return *file_; }
  std::uint64_t nbytes() const { return file_ ? file_->nbytes() : 0; }
  // The first 1024 bytes, or all of a shorter file; empty for a folder.
  std::string_view head() const { return head_; }

  // The folder itself, or the folder that the file lies in. Null for a source that lies in none.
  const Folder* folder() const { return folder_ ? &*folder_ : nullptr; }

  // The zip archive that the file is, damaged or not; null if its first bytes do not say so. Read on the first call.
  ZipContainer* zip();

 private:
  void read_head();

  std::string name_;
  std::optional<File> file_;
  std::optional<Folder> folder_;
  std::string head_;
  std::unique_ptr<ZipContainer> zip_;
};

}  // namespace transload
