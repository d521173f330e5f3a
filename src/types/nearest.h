// Suggestions for a misspelled name, for errors.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace transload {

// Returns the candidate that takes the fewest changes of single characters, ignoring case; empty if
// each would change more than a quarter of the name. Looks at the first 4000 candidates, and ignores
// names of more than 200 bytes.
std::string_view nearest(std::string_view name, std::span<const std::string> candidates);

}  // namespace transload
