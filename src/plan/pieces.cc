#include "plan/pieces.h"

#include <algorithm>
#include <limits>

#include "transload/error.h"

namespace transload {
namespace {

// One past the last byte that a side of a box reaches; the largest number if that has more than 64 bits.
std::uint64_t reach(const Dims& shape, const Dims& stride, std::uint64_t origin,
                    std::uint64_t itemsize) {
  unsigned __int128 last = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] < 1 || stride[d] < 0) return std::numeric_limits<std::uint64_t>::max();
    last +=
        static_cast<unsigned __int128>(shape[d] - 1) * static_cast<unsigned __int128>(stride[d]);
    if (last >> 60) return std::numeric_limits<std::uint64_t>::max();
  }
  const unsigned __int128 end = origin + (last + 1) * itemsize;
  return end >> 64 ? std::numeric_limits<std::uint64_t>::max() : static_cast<std::uint64_t>(end);
}

bool stays_inside(const Piece& piece, std::uint64_t storage_nbytes) {
  if (!piece.box) {
    return piece.byte_offset <= storage_nbytes &&
           piece.nbytes <= storage_nbytes - piece.byte_offset;
  }
  const Box& box = *piece.box;
  return reach(box.shape, box.source_stride, box.source_origin, piece.itemsize) <= piece.nbytes &&
         reach(box.shape, box.target_stride, box.target_origin, piece.itemsize) <= storage_nbytes;
}

}  // namespace

std::span<const Piece> Index::pieces_of(std::uint32_t storage) const {
  // Most often each storage is one piece, and stands where its number says.
  if (storage < pieces.size() && pieces[storage].storage == storage &&
      (storage == 0 || pieces[storage - 1].storage != storage) &&
      (storage + 1 == pieces.size() || pieces[storage + 1].storage != storage))
    return {&pieces[storage], 1};
  const auto first = std::ranges::lower_bound(pieces, storage, {}, &Piece::storage);
  const auto last = std::ranges::upper_bound(first, pieces.end(), storage, {}, &Piece::storage);
  return {first, last};
}

Stored stored(const Index& index, std::uint32_t number) {
  if (number < index.pieces.size()) {
    const Piece& piece = index.pieces[number];
    return {piece.extent, piece.nbytes, piece.encoding, piece.crc32, piece.skipped_nbytes};
  }
  const MetadataMember& member = index.metadata_members[number - index.pieces.size()];
  return {member.extent, member.nbytes, member.encoding, member.crc32};
}

std::string name_of_stored(const Index& index, std::uint32_t number) {
  const std::string file = index.files[stored(index, number).extent.file].name;
  if (number < index.pieces.size())
    return file + ": storage \"" + index.storages[index.pieces[number].storage].key + '"';
  return file + ": member \"" + index.metadata_members[number - index.pieces.size()].name + '"';
}

bool is_straight(const Transfer& transfer, const Index& index) {
  if (transfer.from.kind != Place::Kind::file || transfer.steps != Transfer::kAsIs) return false;
  const std::uint32_t number = transfer.reads;
  return number >= index.pieces.size() ? stored(index, number).encoding == Encoding::as_is
                                       : index.pieces[number].encoding == Encoding::as_is;
}

void require_whole(const Index& index, std::uint32_t storage, std::span<const Piece> pieces) {
  if (pieces.empty()) return;
  const std::uint64_t nbytes = index.storages[storage].nbytes;
  std::uint64_t there = 0;
  bool inside = true;
  for (const Piece& piece : pieces) {
    inside = inside && stays_inside(piece, nbytes);
    there += piece.nbytes;
  }
  if (inside && there == nbytes) return;
  throw FormatError(index.files[pieces.front().extent.file].name + ": storage \"" +
                    index.storages[storage].key + "\": expected pieces of " +
                    std::to_string(nbytes) + " bytes inside of it, found " + std::to_string(there) +
                    (inside ? "" : ", some of them outside"));
}

std::uint64_t slot_nbytes(std::uint64_t staging_nbytes) {
  constexpr std::uint64_t kMost = 4 << 20, kLeast = 64 << 10;
  return std::clamp<std::uint64_t>(staging_nbytes / 16 / 4096 * 4096, kLeast, kMost);
}

}  // namespace transload
