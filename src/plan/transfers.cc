#include "plan/transfers.h"

#include <algorithm>

#include "plan/box.h"
#include "types/checked.h"
#include "plan/pieces.h"

namespace transload {

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
    plan.transfers.push_back({.piece = piece,
                              .target = target,
                              .piece_offset = range.source_offset,
                              .nbytes = range.source_nbytes,
                              .target_offset = 0,
                              .first = range.first,
                              .numel = range.numel,
                              .steps = number,
                              .fills = fills});
  }
  plan.steps.push_back(std::move(steps));
}

void finish(Plan& plan, const Index& index, const IoOptions& io) {
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
    plan.staging_nbytes = std::min(std::max(io.staging_nbytes, 2 * plan.slot_nbytes), useful);
}

std::uint64_t rounded(std::uint64_t nbytes, const MemoryUse& memory) {
  return nbytes == 0 ? 0 : round_up(nbytes, memory.granularity);
}

}  // namespace transload
