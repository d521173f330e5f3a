#include "transfer/checksums.h"

#include <algorithm>

#include "io/crc32.h"
#include "plan/pieces.h"
#include "transload/error.h"

namespace transload {

void Checksums::add(std::uint32_t number, std::span<const std::byte> bytes, std::uint64_t behind) {
  std::uint32_t crc = crc32_of(bytes);
  if (behind > 0) crc = crc32_joined(crc, 0, behind);
  sums_[number].fetch_xor(crc, std::memory_order_relaxed);
}

void require_checksums(const Index& index, std::span<const std::uint32_t> which,
                       std::span<const std::uint32_t> found) {
  constexpr std::size_t kMostNamed = 10;
  std::vector<std::uint32_t> wrong;
  for (std::size_t i = 0; i < which.size(); ++i) {
    const auto expected = stored(index, which[i]).crc32;
    if (expected && *expected != found[i]) wrong.push_back(which[i]);
  }
  if (wrong.empty()) return;
  std::vector<std::string> users(index.storages.size());
  for (const NamedTensor& tensor : index.contents.tensors()) {
    const std::uint32_t s = tensor.value.storage_number();
    if (s < users.size() && users[s].empty()) users[s] = tensor.name;
  }
  const std::string file = index.files[stored(index, wrong.front()).extent.file].name;
  std::string text = file + ": the bytes of these storages are not those that were saved:";
  for (std::size_t i = 0; i < std::min(wrong.size(), kMostNamed); ++i) {
    const std::string at = " at offset " + std::to_string(stored(index, wrong[i]).extent.offset);
    if (wrong[i] < index.pieces.size()) {
      const std::uint32_t s = index.pieces[wrong[i]].storage;
      text += "\n  \"" + index.storages[s].key + '"' + at + ", for \"" + users[s] + '"';
    } else {
      text += "\n  member \"" + index.metadata_members[wrong[i] - index.pieces.size()].name + '"' +
              at + ", which holds values";
    }
  }
  if (wrong.size() > kMostNamed)
    text += "\n  and " + std::to_string(wrong.size() - kMostNamed) + " more";
  throw FormatError(text);
}

}  // namespace transload
