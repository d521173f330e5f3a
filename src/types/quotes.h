// Names in errors stand in double quotes, as they are: "encoder.weight".
#pragma once

#include <string>
#include <string_view>

namespace transload {

inline std::string in_quotes(std::string_view text) { return '"' + std::string(text) + '"'; }

}  // namespace transload
