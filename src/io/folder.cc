#include "io/folder.h"

#include <algorithm>

#include "transload/error.h"

namespace transload {

std::vector<std::string> Folder::names() const {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_.empty() ? "." : path_, error))
    names.push_back(entry.path().filename().string());
  if (error) {
    throw IoError(path_.string() + ": the folder cannot be listed: " + error.message(),
                  error.value());
  }
  std::ranges::sort(names);
  return names;
}

bool Folder::has(const std::string& name) const {
  std::error_code ignored;
  return std::filesystem::exists(path_ / name, ignored);
}

}  // namespace transload
