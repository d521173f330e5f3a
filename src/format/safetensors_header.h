// The JSON header of a safetensors file, as plain data: read with every claim checked that can be checked without the
// file's size, and written as the reference writes it. Layout and sources: docs/formats/safetensors.md.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "transload/dtype.h"

namespace transload {

inline constexpr std::uint64_t kSafetensorsLengthNbytes =
    8;  // of the header's length, at the start of the file

struct SafetensorsHeader {
  struct Entry {
    std::string_view name;
    Dtype dtype;
    std::uint8_t ndim;
    // where its shape begins in `sizes`; as torch counts elements, float4 in pairs
    std::size_t sizes_at;
    std::uint64_t begin, end;  // bytes, from the end of the header
  };
  std::vector<Entry> entries;  // in the order of the header
  std::vector<std::int64_t> sizes;
  std::map<std::string, std::string> metadata;

  std::span<const std::int64_t> shape(const Entry& entry) const {
    return {sizes.data() + entry.sizes_at, entry.ndim};
  }
};

// Decodes `text` in place: the names point into it. `path` is for the errors, whose offsets count from the start of
// the file. Names may repeat, and bytes overlap: the caller sees to that.
SafetensorsHeader parse_safetensors_header(std::string& text, const std::string& path);

// The eight bytes of its length, the header, blanks up to a multiple of 8. Throws UnsupportedError for a name or
// metadata that is not UTF-8.
std::string write_safetensors_header(const SafetensorsHeader& header);

}  // namespace transload
