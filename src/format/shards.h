// What the scanner and saving need of the shards format.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "format/format.h"

namespace transload::shards {

inline constexpr std::string_view kIndexSuffix = ".index.json";

using WeightMap = std::map<std::string, std::string>;  // tensor to file

// Reads the index of a model in shards. Throws FormatError if it is not one.
WeightMap read_map(const File& file);

// The names of the files that the map mentions, each once, sorted.
std::vector<std::string> files_of(const WeightMap& map);

// shards_save.cc
Layout lay_out(const StateDict& state, const LayoutOptions& options);
std::vector<Literal> seal(const Layout& layout, std::span<const std::uint32_t> crc32_of_piece);

}  // namespace transload::shards
