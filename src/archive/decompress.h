// Decompress: files that are compressed as a whole, as joblib, pandas and tarfile read them. The scanner looks inside; nothing
// else reads them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "transload/source.h"

namespace transload {

enum class Compression : std::uint8_t { none, gzip, zlib, bzip2, xz, lzma, zstd, other };

// By the first bytes. `other`: a compression that is not read here, as lz4 and 7z.
Compression compression_of(std::string_view head);
std::string_view name(Compression compression);
// Whether texts may begin like this: two bytes of zlib, five of lzma.
bool may_be_text(Compression compression);
// Whether the library was built with what reads it.
bool can_decompress(Compression compression);

struct Decompressed {
  std::string bytes;
  bool is_whole = false;  // all streams of the file, to its end
  std::string error;      // why it is not; empty if there are more bytes than asked for
};

// Returns the first decoded bytes of all streams in the file, one after the other: at most most_nbytes. Damage is no error:
// what could be decoded before it is returned.
Decompressed decompress(const File& file, Compression compression, std::uint64_t most_nbytes);

}  // namespace transload
