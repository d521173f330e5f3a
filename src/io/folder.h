// A folder on disk, for formats that span several files.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "transload/source.h"

namespace transload {

class Folder {
 public:
  explicit Folder(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  // The names of the files in it, sorted. Throws IoError if the folder cannot be listed.
  std::vector<std::string> names() const;
  bool has(const std::string& name) const;
  File open(const std::string& name) const { return open_file(path_ / name); }

 private:
  std::filesystem::path path_;
};

}  // namespace transload
