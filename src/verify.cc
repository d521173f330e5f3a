// Verifying a file, top to bottom: Index ► Plan ► run ► comparison with the file's own checksums.
//
// The metadata members' bytes were read, and their CRC-32 computed, when the Index was made; the plan reads the rest.
#include "verify.h"

#include "format/format.h"
#include "plan/plans.h"
#include "transfer/checksums.h"
#include "transload/transload.h"

namespace transload {
namespace {

std::uint32_t number_of(const Index& index, const Piece& piece) {
  return static_cast<std::uint32_t>(&piece - index.pieces.data());
}

// Of the members that were read when the Index was made.
void compare_read_members(const Index& index) {
  std::vector<std::uint32_t> which, found;
  for (std::uint32_t m = 0; m < index.metadata_members.size(); ++m) {
    const MetadataMember& member = index.metadata_members[m];
    if (!member.crc32 || !member.read_crc32) continue;
    which.push_back(static_cast<std::uint32_t>(index.pieces.size()) + m);
    found.push_back(*member.read_crc32);
  }
  require_checksums(index, which, found);
}

}  // namespace

VerifyResult verify(const std::filesystem::path& path, const IoOptions& io,
                    const OpenOptions& open_options) {
  return verify(open(path, open_options), io);
}

VerifyResult verify(const Index& index, const IoOptions& io) {
  compare_read_members(index);
  verify_pieces(index, unchecked(index), io);
  VerifyResult result;
  for (const Piece& piece : index.pieces)
    (piece.crc32 ? result.checked_nbytes : result.unchecked_nbytes) += piece.nbytes;
  return result;
}

void verify_pieces(const Index& index, const std::vector<std::uint32_t>& which,
                   const IoOptions& io) {
  const Plan plan = plan_verify(index, which, io);
  Outcome outcome;
  run(plan, {.index = &index}, io, outcome);
  require_checksums(index, plan.checked, outcome.read_crc32);
}

void verify_metadata(const Index& index, const IoOptions& io) {
  compare_read_members(index);
  std::vector<std::uint32_t> members;
  for (const std::uint32_t number : unchecked(index))
    if (number >= index.pieces.size()) members.push_back(number);
  verify_pieces(index, members, io);
}

void verify_loaded(const Index& index, const Plan& plan, const Outcome& outcome,
                   const IoOptions& io) {
  require_checksums(index, plan.checked, outcome.read_crc32);
  std::vector<bool> was_checked(index.pieces.size());
  for (const std::uint32_t number : plan.checked) was_checked[number] = true;
  std::vector<std::uint32_t> others;
  for (const Piece& piece : index.pieces) {
    const std::uint32_t number = number_of(index, piece);
    if (piece.crc32 && !was_checked[number] &&
        plan.placements[piece.storage].memory != Placement::kNowhere)
      others.push_back(number);
  }
  verify_pieces(index, others, io);
}

}  // namespace transload
