// Writing a laid-out file: storages' bytes from any device, or from another file, to their extents.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "device/backend.h"
#include "io/atomic_file.h"
#include "plan/layout.h"
#include "transload/transload.h"

namespace transload {

// Where a storage's bytes are: in memory, or in a file that is converted.
struct ByteSource {
  std::span<const Storage> storages;  // by number; used if `index` is null
  const Index* index = nullptr;
};

// Writes every piece of `layout` and returns their CRC-32s, by number. Devices are read and the file is written by
// several threads at once; nothing is held but staging.
std::vector<std::uint32_t> write_pieces(const Layout& layout, const ByteSource& source,
                                        const AtomicFile& file, const IoOptions& io);

}  // namespace transload
