// Sizes and texts of files, as they are shown to people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace transload::cli {

// "404 bytes", "1.50 MB": powers of 1000, three digits.
std::string human(std::uint64_t nbytes);
std::string human_rate(std::uint64_t nbytes, double seconds);  // "1.50 GB/s"

// A text out of a file, with its control characters written as \x1b: it cannot steer the terminal.
std::string printable(std::string_view text);

}  // namespace transload::cli
