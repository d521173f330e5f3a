// Names in errors stand in double quotes, as they are: "encoder.weight".
#pragma once

#include <string>
#include <string_view>

namespace transload {

inline std::string in_quotes(std::string_view text) { return '"' + std::string(text) + '"'; }

// Returns the text as a literal of C++ that can be pasted: with its quotes, backslashes and line
// breaks escaped.
inline std::string as_literal(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c == '\n' ? "\\n" : std::string(1, c);
  }
  return in_quotes(escaped);
}

}  // namespace transload
