#include "archive/tar.h"

#include <algorithm>
#include <charconv>

#include "io/file.h"

namespace transload {
namespace {

constexpr std::size_t kBlock = 512, kName = 100, kSize = 124, kSizeNbytes = 12, kSum = 148,
                      kSumNbytes = 8, kMagic = 257;
constexpr std::size_t kMostMembers = 1'000'000;

// A number of a header as Python's tarfile reads it: octal digits with whatever int() skips, or base 256.
std::uint64_t number(std::string_view field) {
  std::uint64_t value = 0;
  if (field[0] == '\x80' || field[0] == '\xFF') {
    for (const char c : field.substr(1)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  }
  std::string digits;
  for (const char c : field.substr(0, field.find('\0')))
    if (c >= '0' && c <= '7') digits += c;
  std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
  return value;
}

}  // namespace

bool is_tar(std::string_view head) {
  if (head.size() < kBlock) return false;
  if (head.substr(0, kBlock).find_first_not_of('\0') == head.npos) return false;
  std::int64_t sum = kSumNbytes * ' ', signed_sum = sum;  // the field itself counts as blanks
  for (std::size_t i = 0; i < kBlock; ++i) {
    if (i >= kSum && i < kSum + kSumNbytes) continue;
    sum += static_cast<unsigned char>(head[i]);
    signed_sum += static_cast<signed char>(head[i]);
  }
  const auto stated = static_cast<std::int64_t>(number(head.substr(kSum, kSumNbytes)));
  return stated == sum || stated == signed_sum || head.substr(kMagic, 5) == "ustar";
}

TarContainer::TarContainer(const File& file) : Container(file) {
  for (std::uint64_t at = 0; file.nbytes() - at >= kBlock && members_.size() < kMostMembers;) {
    const std::string header = read_text(file, at, kBlock);
    if (!is_tar(header)) break;
    const std::uint64_t data = at + kBlock, left = file.nbytes() - data;
    const std::uint64_t stated = number(std::string_view(header).substr(kSize, kSizeNbytes));
    const std::uint64_t nbytes = std::min(stated, left);
    names_.push_back(header.substr(0, std::min(kName, header.find('\0'))));
    members_.push_back({names_.back(), at, data, nbytes, nbytes});
    if (stated > left) {
      damage_ = file.name + ": offset " + std::to_string(at) + ": " + label_of(members_.back()) +
                " has " + std::to_string(stated) + " bytes, but only " + std::to_string(left) +
                " bytes are left (the file is truncated)";
      break;
    }
    at = std::min(file.nbytes(), data + (nbytes + kBlock - 1) / kBlock * kBlock);
  }
}

}  // namespace transload
