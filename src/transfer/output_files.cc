#include "transfer/output_files.h"

#include <algorithm>

#include "io/temporary.h"
#include "transload/error.h"

namespace transload {

OutputFiles::OutputFiles(const std::filesystem::path& target, const Layout& layout,
                         Replacement replacement) {
  const bool alone = layout.files.size() == 1 && layout.files.front().name.empty();
  if (!alone && replacement == Replacement::in_place) {
    throw UnsupportedError(target.string() +
                           ": shards are written into a new folder; in_place is for a single file");
  }
  const std::filesystem::path folder = target.has_filename() ? target : target.parent_path();
  leftovers_ = remove_leftovers(followed(alone ? target : folder));
  if (!alone) folder_.emplace(target);
  for (const LaidOutFile& file : layout.files) {
    files_.push_back(
        std::make_unique<AtomicFile>(alone ? target : folder_->path() / file.name, replacement));
    files_.back()->reserve(file.nbytes);
    pointers_.push_back(files_.back().get());
  }
}

bool OutputFiles::has_direct() const {
  return std::ranges::all_of(files_, [](const auto& file) { return file->has_direct(); });
}

std::vector<std::string> OutputFiles::not_kept() const {
  std::vector<std::string> not_kept;
  for (const auto& file : files_)
    not_kept.insert(not_kept.end(), file->not_kept().begin(), file->not_kept().end());
  return not_kept;
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
