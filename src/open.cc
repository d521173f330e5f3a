// Opening: a path or a source ► Opened ► the format that recognizes it ► Index. No tensor's bytes are read.
#include "format/format.h"
#include "transload/transload.h"

namespace transload {

Index open(const std::filesystem::path& path, const OpenOptions& options) {
  Opened opened(path);
  return read_index(format_of(opened), opened, options);
}

Index open(const File& file, const OpenOptions& options) {
  Opened opened(file);
  return read_index(format_of(opened), opened, options);
}

std::vector<FormatInfo> formats() { return list_formats(); }

}  // namespace transload
