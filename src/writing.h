// What a save, a conversion and a recovery have in common: a state dict becomes files of a format.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "format/format.h"
#include "plan/plans.h"

namespace transload {

// The format by its name; by the path's suffix if that is empty, as format_by_suffix() says. Throws UnsupportedError for
// one that is only read.
const Format& format_to_write(const std::filesystem::path& path, const std::string& name);

// What is written of a state dict in this format, by the options' selection.
StateDict select_to_write(const StateDict& state, const Format& format, const SaveOptions& options);

// Fixes where everything will be. By storage: `tags`, the location to write; `files`, the file to write it to, for formats
// of several files. Throws UnsupportedError if the format cannot hold the state dict, before anything is written.
Layout lay_out(const Format& format, const StateDict& state, std::span<const std::string> tags,
               const std::filesystem::path& path, const SaveOptions& options,
               std::span<const std::string> files = {});

// The tags as the options' rules over them, over keys and functions say; those of storages on meta stay empty.
std::vector<std::string> tags_to_write(std::vector<std::string> tags, const StateDict& state,
                                       const MapLocation& locations);

// The tags that a file has.
std::vector<std::string> tags_of(const Index& index);

// Writes the files of a layout. `index`: of the files that the plan reads; null if it reads none.
SaveResult write(const Format& format, const Layout& layout, const std::filesystem::path& path,
                 const Index* index, const SaveOptions& options,
                 const std::function<Plan(const WriteFacts&)>& make_plan);

// The same for a function that takes the bytes in order, from the state dict's memory. Throws UnsupportedError for a layout
// of several files, before it writes.
SaveResult write(const Format& format, const Layout& layout, const WriteFunction& write,
                 const IoOptions& io, const std::function<Plan(const WriteFacts&)>& make_plan);

}  // namespace transload
