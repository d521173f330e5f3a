// Sizes and texts of files, as they are shown to people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace transload::cli {

std::string human_rate(std::uint64_t nbytes, double seconds);  // "1.50 GB/s"

// A text out of a file, with its control characters written as \x1b: it cannot steer the terminal.
std::string printable(std::string_view text);

}  // namespace transload::cli
