#include "plan/transfers.h"

#include <algorithm>

#include "types/box.h"
#include "types/checked.h"

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

void add_in_order(Plan& plan, const Transfer& whole) {
  std::uint64_t from_size = 1, to_size = 1;
  if (whole.steps != Transfer::kAsIs) {
    from_size = itemsize(plan.steps[whole.steps].from);
    to_size = itemsize(plan.steps[whole.steps].to);
  }
  const std::uint64_t most = plan.slot_nbytes / std::max(from_size, to_size) * from_size;
  for (std::uint64_t done = 0; done < whole.nbytes; done += most) {
    Transfer part = whole;
    part.piece_offset += done;
    part.target_offset += done / from_size * to_size;
    part.nbytes = std::min(most, whole.nbytes - done);
    plan.transfers.push_back(part);
  }
}

void add_boxed(Plan& plan, std::uint32_t piece, std::uint32_t target, Steps steps,
               std::uint32_t fills) {
  const Box& box = *steps.box;
  const auto number = static_cast<std::uint32_t>(plan.steps.size());
  for (const BoxRange& range :
       split(box, itemsize(steps.from), itemsize(steps.to), plan.slot_nbytes)) {
    plan.transfers.push_back({piece, target, range.source_offset, range.source_nbytes, range.first,
                              range.numel, number, fills});
  }
  plan.steps.push_back(std::move(steps));
}

bool goes_straight(const Transfer& transfer, const Index& index) {
  return transfer.steps == Transfer::kAsIs &&
         index.pieces[transfer.piece].encoding == Encoding::as_is;
}

void finish(Plan& plan, const Index& index, const Engine& engine) {
  std::sort(plan.transfers.begin(), plan.transfers.end(),
            [&](const Transfer& a, const Transfer& b) {
              const Extent &x = index.pieces[a.piece].extent, &y = index.pieces[b.piece].extent;
              if (x.file != y.file) return x.file < y.file;
              if (x.offset != y.offset) return x.offset < y.offset;
              return a.piece_offset < b.piece_offset;
            });
  bool staged = false;
  for (const Transfer& transfer : plan.transfers) {
    plan.transfer_nbytes += transfer.nbytes;
    staged = staged || !goes_straight(transfer, index) ||
             plan.targets[transfer.target].device.kind != DeviceKind::cpu;
  }
  const std::uint64_t useful = round_up(plan.transfer_nbytes, plan.slot_nbytes) * 2;
  if (staged)
    plan.staging_nbytes = std::min(std::max(engine.staging_nbytes, 2 * plan.slot_nbytes), useful);
}

std::uint64_t rounded(std::uint64_t nbytes, const MemoryUse& memory) {
  return nbytes == 0 ? 0 : round_up(nbytes, memory.granularity);
}

}  // namespace transload
