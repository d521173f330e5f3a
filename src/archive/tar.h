// The tar container: PyTorch 0.1 saved models as tar.
//
//   blocks of 512 bytes; for each member a header (name 0, size 124, checksum 148, magic 257), then its bytes, padded
//
// Sources: POSIX pax, "ustar Interchange Format"; how Python's tarfile reads numbers, since it decides what loaders see.
#pragma once

#include <deque>
#include <string>

#include "archive/container.h"

namespace transload {

class TarContainer final : public Container {
 public:
  // Reads headers until one is not a header. Without any, members() is empty.
  explicit TarContainer(const File& file);

  std::string_view kind() const override { return "tar"; }
  void locate(std::span<Member* const>) override {}  // known from the start

 private:
  std::deque<std::string> names_;
};

// Whether the first block of a file is a tar header. `head`: the first 512 bytes or more.
bool is_tar(std::string_view head);

}  // namespace transload
