// Suggests the name that was probably meant, for errors about unknown keys.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace transload {

// Returns the candidate with the smallest edit distance to `name`, ignoring case. Returns "" if
// every candidate differs by more than a quarter of the name (but at least 2 characters). Considers
// the first 4000 candidates and names of up to 200 bytes, so that an error stays cheap.
std::string_view nearest(std::string_view name, std::span<const std::string> candidates);

}  // namespace transload
