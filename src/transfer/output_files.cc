#include "transfer/output_files.h"

#include <algorithm>

namespace transload {

OutputFiles::OutputFiles(const std::filesystem::path& target, const Layout& layout) {
  const bool alone = layout.files.size() == 1 && layout.files.front().name.empty();
  if (!alone) folder_.emplace(target);
  for (const LaidOutFile& file : layout.files) {
    files_.push_back(std::make_unique<AtomicFile>(alone ? target : folder_->path() / file.name));
    files_.back()->reserve(file.nbytes);
    pointers_.push_back(files_.back().get());
  }
}

bool OutputFiles::has_direct() const {
  return std::ranges::all_of(files_, [](const auto& file) { return file->has_direct(); });
}

void OutputFiles::write(const std::vector<Literal>& literals) {
  for (const Literal& literal : literals)
    files_[literal.file]->write(literal.offset, std::as_bytes(std::span(literal.bytes)));
}

void OutputFiles::commit() {
  for (const auto& file : files_) file->commit();
  if (folder_) folder_->commit();
}

}  // namespace transload
