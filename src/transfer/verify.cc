#include "transfer/verify.h"

#include <atomic>

#include "io/crc32.h"
#include "io/piece_reader.h"
#include "plan/transfers.h"
#include "transfer/workers.h"

namespace transload {
namespace {

constexpr std::size_t kMostNamed = 10;

std::uint64_t decoded_nbytes(const Index& index, const Piece& piece) {
  return piece.encoding == Encoding::as_is ? piece.extent.nbytes
                                           : index.storages[piece.storage].nbytes;
}

}  // namespace

void require_checksums(const Index& index,
                       std::span<const std::pair<std::uint32_t, std::uint32_t>> found) {
  std::vector<std::uint32_t> wrong;
  for (const auto& [piece, crc] : found) {
    if (index.pieces[piece].crc32 && *index.pieces[piece].crc32 != crc) wrong.push_back(piece);
  }
  if (wrong.empty()) return;
  std::vector<std::string> users(index.storages.size());
  for (const NamedTensor& tensor : index.contents.tensors()) {
    const std::uint32_t s = tensor.value.storage_number();
    if (s < users.size() && users[s].empty()) users[s] = tensor.name;
  }
  const Piece& first = index.pieces[wrong.front()];
  std::string text = index.files[first.extent.file].path.string() +
                     ": the bytes of these storages are not those that were saved:";
  for (std::size_t i = 0; i < std::min(wrong.size(), kMostNamed); ++i) {
    const Piece& piece = index.pieces[wrong[i]];
    text += "\n  \"" + index.storages[piece.storage].key + "\" at offset " +
            std::to_string(piece.extent.offset) + ", for \"" + users[piece.storage] + '"';
  }
  if (wrong.size() > kMostNamed)
    text += "\n  and " + std::to_string(wrong.size() - kMostNamed) + " more";
  throw FormatError(text);
}

void verify_pieces(const Index& index, std::span<const std::uint32_t> pieces,
                   const Engine& engine) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> found;
  std::uint64_t total = 0;
  for (const std::uint32_t p : pieces) {
    if (!index.pieces[p].crc32) continue;
    found.emplace_back(p, 0);
    total += decoded_nbytes(index, index.pieces[p]);
  }
  if (found.empty()) return;
  const std::uint64_t slot = slot_nbytes(engine.staging_nbytes);
  std::atomic<std::size_t> next = 0;
  std::atomic<std::uint64_t> done_nbytes = 0;
  std::atomic<bool> stop = false;
  const auto most_threads =
      static_cast<int>(std::max<std::uint64_t>(1, engine.staging_nbytes / slot));
  run_workers(std::min(thread_count(engine.threads), most_threads), engine.progress, total,
              done_nbytes, stop, [&](int) {
                PieceReader reader(index);
                std::vector<std::byte> buffer(slot);
                for (std::size_t i = next++; i < found.size() && !stop; i = next++) {
                  auto& [piece, crc] = found[i];
                  const std::uint64_t nbytes = decoded_nbytes(index, index.pieces[piece]);
                  for (std::uint64_t done = 0; done < nbytes && !stop; done += slot) {
                    const std::span part(buffer.data(), std::min(slot, nbytes - done));
                    reader.read(piece, done, part);
                    crc = crc32_joined(crc, crc32_of(part), part.size());
                    done_nbytes += part.size();
                  }
                }
              });
  require_checksums(index, found);
}

}  // namespace transload
