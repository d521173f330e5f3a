// A zip archive as other programs write it, for tests: members stored one after the other, without zip64.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/crc32.h"

namespace transload {

// names and bytes
inline std::string stored_zip(const std::vector<std::pair<std::string, std::string>>& members) {
  const auto number = [](std::uint64_t value, int nbytes) {
    std::string bytes;
    for (int i = 0; i < nbytes; ++i) bytes += static_cast<char>(value >> (8 * i));
    return bytes;
  };
  std::string out, directory;
  for (const auto& [name, bytes] : members) {
    // version, flags, method, time and date, CRC, both sizes, lengths of the name and of what follows it
    const std::string same = number(20, 2) + number(0, 2) + number(0, 2) + number(0, 4) +
                             number(crc32_of(std::as_bytes(std::span(bytes))), 4) +
                             number(bytes.size(), 4) + number(bytes.size(), 4) +
                             number(name.size(), 2) + number(0, 2);
    directory += "PK\1\2" + number(20, 2) + same + number(0, 6) + number(0, 4) +
                 number(out.size(), 4) + name;
    out += "PK\3\4" + same + name + bytes;
  }
  return out + directory + "PK\5\6" + number(0, 4) + number(members.size(), 2) +
         number(members.size(), 2) + number(directory.size(), 4) + number(out.size(), 4) +
         number(0, 2);
}

}  // namespace transload
