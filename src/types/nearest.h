// Names that are nearly the one that was meant, for errors.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace transload {

// The candidate with the fewest changes of single characters, upper case and lower case being alike; empty if all differ
// in more than a fourth of it. Looks at the first few thousand, and at none that is very long.
std::string_view nearest(std::string_view name, std::span<const std::string> candidates);

}  // namespace transload
