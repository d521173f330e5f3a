#include "transfer/verify.h"

#include "archive/container.h"
#include "io/crc32.h"
#include "transfer/piece_reader.h"
#include "transfer/parts.h"
#include "plan/pieces.h"

namespace transload {
namespace {

constexpr std::size_t kMostNamed = 10;

}  // namespace

void require_checksums(const Index& index,
                       std::span<const std::pair<std::uint32_t, std::uint32_t>> found) {
  std::vector<std::uint32_t> wrong;
  for (const auto& [piece, crc] : found) {
    if (index.pieces[piece].crc32 && *index.pieces[piece].crc32 != crc) wrong.push_back(piece);
  }
  if (wrong.empty()) return;
  const std::vector<std::vector<std::string>> names = names_by_storage(index.contents);
  const Piece& first = index.pieces[wrong.front()];
  std::string text = index.files[first.extent.file].name +
                     ": the bytes of these storages are not those that were saved:";
  for (std::size_t i = 0; i < std::min(wrong.size(), kMostNamed); ++i) {
    const Piece& piece = index.pieces[wrong[i]];
    text += "\n  \"" + index.storages[piece.storage].key + "\" at offset " +
            std::to_string(piece.extent.offset);
    if (const auto& users = names[piece.storage]; !users.empty())
      text += ", for \"" + users.front() + '"';
  }
  if (wrong.size() > kMostNamed)
    text += "\n  and " + std::to_string(wrong.size() - kMostNamed) + " more";
  throw FormatError(text);
}

void verify_metadata(const Index& index) {
  for (const MetadataMember& member : index.metadata_members) {
    if (!member.crc32) continue;
    const File& file = index.files[member.extent.file];
    const auto crc32 = member.read_crc32 ? *member.read_crc32 : [&] {
      const std::string bytes =
          read_member(file, {member.name, 0, member.extent.offset, member.extent.nbytes,
                             member.nbytes, *member.crc32, member.encoding});
      return crc32_of(std::as_bytes(std::span(bytes)));
    }();
    if (crc32 == *member.crc32) continue;
    throw FormatError(file.name + ": offset " + std::to_string(member.extent.offset) +
                      ": member \"" + member.name + "\" differs from its checksum");
  }
}

std::vector<std::uint32_t> crcs_of(const Index& index, std::span<const std::uint32_t> pieces,
                                   const IoOptions& io) {
  return for_each_part(index.pieces, pieces, io, [&] {
    return [reader = std::make_shared<PieceReader>(index),
            buffer = std::vector<std::byte>(slot_nbytes(io.staging_nbytes))](
               const Part& part, const Part* ahead) mutable {
      if (ahead) reader->read_soon(ahead->piece, ahead->offset, ahead->nbytes);
      const std::span bytes(buffer.data(), part.nbytes);
      reader->read(part.piece, part.offset, bytes);
      return crc32_of(bytes);
    };
  });
}

void verify_pieces(const Index& index, std::span<const std::uint32_t> pieces,
                   const IoOptions& io) {
  std::vector<std::uint32_t> checked;
  for (const std::uint32_t p : pieces) {
    if (index.pieces[p].crc32) checked.push_back(p);
  }
  const std::vector<std::uint32_t> crcs = crcs_of(index, checked, io);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> found;
  for (std::size_t i = 0; i < checked.size(); ++i) found.emplace_back(checked[i], crcs[i]);
  require_checksums(index, found);
}

}  // namespace transload
