#include "plan/pieces.h"

#include <algorithm>

#include "transload/error.h"

namespace transload {

std::vector<std::uint32_t> pieces_by_storage(const Index& index) {
  std::vector<std::uint32_t> pieces(index.storages.size(), kNoPiece);
  for (std::uint32_t p = 0; p < index.pieces.size(); ++p) {
    std::uint32_t& of_storage = pieces[index.pieces[p].storage];
    const StoredStorage& storage = index.storages[index.pieces[p].storage];
    if (of_storage != kNoPiece) {
      throw UnsupportedError("storage \"" + storage.key +
                             "\" lies in several pieces of the file, which is not read yet");
    }
    of_storage = p;
  }
  return pieces;
}

std::uint64_t slot_nbytes(std::uint64_t staging_nbytes) {
  constexpr std::uint64_t kMost = 4 << 20, kLeast = 64 << 10;
  return std::clamp<std::uint64_t>(staging_nbytes / 16 / 4096 * 4096, kLeast, kMost);
}

bool goes_straight(const Transfer& transfer, const Index& index) {
  return transfer.steps == Transfer::kAsIs &&
         index.pieces[transfer.piece].encoding == Encoding::as_is;
}

std::span<const Piece> Index::pieces_of(std::uint32_t storage) const {
  const auto found = std::ranges::equal_range(pieces, storage, {}, &Piece::storage);
  return {found.begin(), found.end()};
}

}  // namespace transload
