// Layout: the files that a save will write, with every offset fixed before a byte is written.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "transload/index.h"

namespace transload {

// Bytes of a file that belong to no tensor: headers, the pickle, what stands between members.
struct Literal {
  std::uint32_t file;  // number in Layout::files
  std::uint64_t offset;
  std::string bytes;
};

// A file to be written.
struct LaidOutFile {
  std::string name;          // inside the folder; empty: the target of the save itself
  std::uint64_t nbytes = 0;  // as far as it is known before seal()
};

struct Layout {
  std::vector<LaidOutFile>
      files;                      // a file without a name is the only one; others lie in one folder
  StateDict contents;             // what is written; pieces refer to its storages by number
  std::vector<Piece> pieces;      // where storages' bytes will lie; extents count in `files`
  std::vector<Literal> literals;  // known before any tensor's bytes
  std::vector<std::string> left_out;      // what the format cannot store, for people
  std::shared_ptr<const void> of_format;  // what the format's own seal() needs again
};

}  // namespace transload
