#include "transfer/parts.h"

#include "io/crc32.h"
#include "transfer/workers.h"
#include "plan/pieces.h"

namespace transload {
namespace {

constexpr std::size_t kAhead = 8;  // parts
constexpr std::uint64_t kPage = 4096, kAlignment = 64;

}  // namespace

std::vector<std::uint32_t> for_each_part(std::span<const Piece> all, std::span<const std::uint32_t> pieces,
                                         const IoOptions& io,
                                         const std::function<PartFunction()>& make_work) {
  const std::uint64_t slot = slot_nbytes(io.staging_nbytes);
  std::vector<Part> parts;
  std::uint64_t total = 0;
  for (const std::uint32_t p : pieces) {
    const Piece& piece = all[p];
    const std::uint64_t nbytes = piece.nbytes;
    // The first one is shorter, so that the others begin with a page of the file.
    std::uint64_t most = slot - piece.extent.offset % kPage / kAlignment * kAlignment;
    for (std::uint64_t done = 0; done < nbytes; done += parts.back().nbytes, most = slot)
      parts.push_back({p, done, std::min(most, nbytes - done)});
    total += nbytes;
  }
  std::vector<std::uint32_t> part_crcs(parts.size());
  std::atomic<std::size_t> next = 0;
  std::atomic<std::uint64_t> done_nbytes = 0;
  std::atomic<bool> stop = false;
  const auto most_threads =
      static_cast<int>(std::max<std::uint64_t>(1, io.staging_nbytes / slot));
  run_workers(std::min(thread_count(io.threads), most_threads), io.progress, total,
              done_nbytes, stop, [&](int) {
                const PartFunction work = make_work();
                for (std::size_t i = next++; i < parts.size() && !stop; i = next++) {
                  part_crcs[i] =
                      work(parts[i], i + kAhead < parts.size() ? &parts[i + kAhead] : nullptr);
                  done_nbytes += parts[i].nbytes;
                }
              });
  std::vector<std::uint32_t> crcs;
  crcs.reserve(pieces.size());
  std::size_t i = 0;
  for (const std::uint32_t p : pieces) {
    std::uint32_t crc = 0;
    for (; i < parts.size() && parts[i].piece == p; ++i)
      crc = crc32_joined(crc, part_crcs[i], parts[i].nbytes);
    crcs.push_back(crc);
  }
  return crcs;
}

}  // namespace transload
