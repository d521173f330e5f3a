// The format that a save writes by the suffix of its target, and the suffixes of formats that are not written.
#pragma once

#include <filesystem>
#include <string_view>

namespace transload {

// Returns "safetensors" for .safetensors in any case, and "torch_zip" for all names that say nothing else. Throws
// UnsupportedError, with the way out, for a suffix of a format that is not written, and for one that is .safetensors but
// for a slip.
std::string_view format_by_suffix(const std::filesystem::path& target);

}  // namespace transload
