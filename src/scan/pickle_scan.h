// Walks the opcodes of a pickle, all that Python has, for the names it uses. It keeps just enough of a stack to tell what is
// called, goes on where a loader would fail, and never allocates what the pickle claims.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "transload/scan.h"

namespace transload {

struct PickleScan {
  std::vector<PickleUse> uses;  // each name and way once, in the order of the first
  std::size_t nbytes = 0;       // up to and including STOP, or to where it breaks
  std::string broken;           // why it does, with the offset; empty: the walk came to STOP
  bool gave_up = false;         // it is a limit of the scanner: a loader would go on
  bool has_arrays = false;      // the elements of joblib's arrays lie between the opcodes
};

// `member` goes into the uses: the name of the archive member, or "" for a file of its own.
PickleScan scan_pickle(std::span<const std::byte> bytes, const std::string& member);

}  // namespace transload
