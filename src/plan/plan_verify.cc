// plan_verify: what is read to compare it with its checksum. Pure.
#include <limits>

#include "plan/box.h"
#include "plan/pieces.h"
#include "plan/plans.h"
#include "plan/transfers.h"

namespace transload {

Plan plan_verify(const Index& index, const std::vector<std::uint32_t>& which, const IoOptions& io) {
  Plan plan;
  plan.contents = index.contents;
  plan.slot_nbytes = slot_nbytes(io.staging_nbytes);
  plan.transfers.reserve(which.size());
  for (const std::uint32_t number : which) {
    const Stored bytes = stored(index, number);
    Transfer transfer;
    transfer.from = {Place::Kind::file, bytes.extent.file, bytes.extent.offset};
    transfer.nbytes = bytes.nbytes;
    transfer.label = number < index.pieces.size() ? index.pieces[number].storage
                                                  : std::numeric_limits<std::uint32_t>::max();
    transfer.reads = number;
    add_in_order(plan, transfer);
  }
  plan.checked = which;
  finish(plan, &index, io);
  return plan;
}

Plan plan_verify(const Index& index) { return plan_verify(index, unchecked(index), {}); }

std::vector<std::uint32_t> unchecked(const Index& index) {
  std::vector<std::uint32_t> which;
  for (std::uint32_t p = 0; p < index.pieces.size(); ++p) {
    if (index.pieces[p].crc32) which.push_back(p);
  }
  const auto pieces = static_cast<std::uint32_t>(index.pieces.size());
  for (std::uint32_t m = 0; m < index.metadata_members.size(); ++m) {
    const MetadataMember& member = index.metadata_members[m];
    if (member.crc32 && !member.read_crc32) which.push_back(pieces + m);
  }
  return which;
}

bool is_read_once(const Piece& piece) {
  if (!piece.box) return true;
  const Box all = in_source_order(*piece.box);
  return piece.box->source_origin == 0 && numel(all) * piece.itemsize == piece.nbytes &&
         source_span(all, piece.itemsize) == piece.nbytes && is_dense(by_source_buffer(all).gather);
}

}  // namespace transload
