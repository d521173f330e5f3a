// Lists of names as texts: "relu relu6 gelu".
#pragma once

#include <string_view>

namespace transload {

// Whether `word` is one of the words that blanks separate in `words`.
constexpr bool has_word(std::string_view words, std::string_view word) {
  if (word.empty() || word.find(' ') != word.npos) return false;
  for (std::size_t at = words.find(word); at != words.npos; at = words.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || words[at - 1] == ' ') && (end == words.size() || words[end] == ' '))
      return true;
  }
  return false;
}

}  // namespace transload
