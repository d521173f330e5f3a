// Where a pickle that lies in the middle of a file ends: PyTorch's old files are pickles, one after the other, without lengths.
#pragma once

#include <cstdint>
#include <string>

#include "pickle/reader.h"
#include "transload/source.h"

namespace transload {

// Returns the bytes of the pickle at `begin`, up to and including its STOP. Reads in growing steps, at most twice as far as
// needed. Throws FormatError that names `what` ("the list of keys") if the pickle is damaged or does not end before `end`.
std::string read_whole_pickle(const File& file, std::uint64_t begin, std::uint64_t end,
                              const std::string& what);

// Reads a pickle that may hold plain values only: no names of classes, no persistent ids. Throws FormatError that begins with
// `where`. Returns the root.
NodeId read_plain_pickle(const std::string& bytes, NodeTable& nodes, const std::string& where);

}  // namespace transload
