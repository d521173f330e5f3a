// Texts for people: rates, names from files, and the library's errors in the words of the command
// line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "transload/error.h"

namespace transload::cli {

std::string human_rate(std::uint64_t nbytes, double seconds);  // returns "1.50 GB/s"

// Returns a text from a file with its control characters escaped (\x1b), so that it cannot control
// the terminal.
std::string printable(std::string_view text);

// Returns a setting that an error advises as it can be pasted into a shell: --rename 'module.*=*'.
std::string command_line(const Setting& setting);

// Returns an error of the library with the names of its options replaced by those of the command
// line: map_location and `map_location` become --map-location, `at` becomes --at. Names with an
// underscore are replaced wherever they stand alone; English words such as `at` only in backquotes,
// keep, drop and rename also before a quoted pattern. Text in double quotes, which comes from files and
// users, stays as it is.
std::string with_command_line_options(std::string_view message);

}  // namespace transload::cli
