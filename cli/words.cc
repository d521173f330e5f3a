#include "words.h"

#include <algorithm>

#include <fmt/format.h>

#include "transload/device.h"

namespace transload::cli {

std::string human_rate(std::uint64_t nbytes, double seconds) {
  return human_bytes(
             static_cast<std::uint64_t>(static_cast<double>(nbytes) / std::max(seconds, 1e-9))) +
         "/s";
}

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F, in UTF-8 C2 80 to C2 9F, are control characters too.
    const bool is_c1 = byte == 0xC2 && i + 1 < text.size() &&
                       (static_cast<unsigned char>(text[i + 1]) & 0xE0) == 0x80;
    if (is_c1)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++i]));
    else if (byte < 0x20 || byte == 0x7F)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += text[i];
  }
  return out;
}

}  // namespace transload::cli
