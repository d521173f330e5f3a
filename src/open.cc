// Opening: a path or a source ► Opened ► the format that recognizes it ► Index. No tensor's bytes are read.
#include "format/format.h"
#include "transload/transload.h"

namespace transload {

Index open(const std::filesystem::path& path, const OpenOptions& options) {
  Opened opened(path);
  return format_of(opened).read(opened, options);
}

Index open(const File& file, const OpenOptions& options) {
  Opened opened(file);
  return format_of(opened).read(opened, options);
}

std::vector<FormatInfo> formats() { return list_formats(); }

}  // namespace transload
