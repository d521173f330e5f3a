// Match: which tensor of a file or state dict fills which live one. It follows torch's
// load_state_dict, and is decided before a byte moves.
#pragma once

#include <string>
#include <vector>

#include "transload/options.h"

namespace transload {

struct Match {
  std::string key;
  Tensor source, live;
  std::uint32_t source_storage;  // its number
};

struct Matches {
  std::vector<Match> filled;
  FillResult result;
};

// Throws MismatchError with everything that does not fit: missing and unexpected keys if
// options.strict, shapes and dtypes.
Matches match(const StateDict& live, const StateDict& source, const FillOptions& options,
              const std::string& source_name);

}  // namespace transload
