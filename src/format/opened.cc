#include "format/opened.h"

#include <algorithm>

#include "io/file.h"

namespace transload {

Opened::Opened(const std::filesystem::path& path) : name_(path.string()) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    folder_.emplace(path);
    return;
  }
  file_ = open_file(path);
  folder_.emplace(path.parent_path());
  read_head();
}

Opened::Opened(File file, std::optional<Folder> folder)
    : name_(file.name), file_(std::move(file)), folder_(std::move(folder)) {
  read_head();
}

void Opened::read_head() {
  constexpr std::uint64_t kHeadNbytes = 1024;
  head_ = read_text(*file_, 0, std::min(file_->nbytes(), kHeadNbytes));
}

ZipContainer* Opened::zip() {
  const bool is_zip =
      head_.starts_with(zip::kLocalSignature) || head_.starts_with(zip::kEndSignature);
  if (is_zip && !zip_) zip_ = std::make_unique<ZipContainer>(*file_);
  return zip_.get();
}

}  // namespace transload
