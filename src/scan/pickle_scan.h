// Walks a pickle's opcodes, all that Python has, for the names it uses. It keeps just enough of a stack to tell what is
// called, goes on where a loader would fail, and never allocates what the pickle claims.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "transload/scan.h"

namespace transload {

struct PickleScan {
  std::vector<PickleUse> uses;  // each name and way once, in the order of the first
  std::size_t nbytes = 0;       // up to and with STOP, or to where it breaks
  std::string broken;           // why it does; empty: it came to STOP
};

PickleScan scan_pickle(std::span<const std::byte> bytes, const std::string& member);

}  // namespace transload
