#include "transfer/run_state.h"

#include "plan/pieces.h"
#include "plan/plans.h"
#include "transload/error.h"

namespace transload {

RunState::RunState(const Plan& the_plan, const Endpoints& the_ends, const IoOptions& the_io,
                   Outcome& the_outcome)
    : plan(the_plan),
      ends(the_ends),
      io(the_io),
      outcome(the_outcome),
      read_sums_(plan.checked.size()),
      written_sums_(plan.sums_written ? ends.layout->pieces.size() : 0) {
  outcome.reached.assign(plan.transfers.size(), Reached::untouched);
  if (plan.checked.empty()) return;
  checked_.assign(ends.index->pieces.size() + ends.index->metadata_members.size(),
                  Transfer::kNoPiece);
  for (std::uint32_t i = 0; i < plan.checked.size(); ++i) checked_[plan.checked[i]] = i;
}

void RunState::sum_read(const Transfer& t, std::uint64_t offset, std::span<const std::byte> bytes) {
  if (checked_.empty() || checked_[t.reads] == Transfer::kNoPiece) return;
  const Stored piece = stored(*ends.index, t.reads);
  read_sums_.add(checked_[t.reads], bytes,
                 piece.extent.offset + piece.nbytes - offset - bytes.size());
}

void RunState::sum_written(const Transfer& t, std::uint64_t offset,
                           std::span<const std::byte> bytes) {
  if (!plan.sums_written) return;
  const Extent& piece = ends.layout->pieces[t.writes].extent;
  written_sums_.add(t.writes, bytes, piece.offset + piece.nbytes - offset - bytes.size());
}

void RunState::take_sums() {
  outcome.read_crc32.clear();
  outcome.wrote_crc32.clear();
  for (std::uint32_t i = 0; i < read_sums_.size(); ++i) outcome.read_crc32.push_back(read_sums_[i]);
  for (std::uint32_t i = 0; i < written_sums_.size(); ++i)
    outcome.wrote_crc32.push_back(written_sums_[i]);
}

void RunState::name_transfer(Error& error, std::uint32_t number) const {
  const Transfer& t = transfer(number);
  const std::string label = label_of(plan, t.label);
  std::string text =
      (label.empty() ? "" : "for " + label + ", ") + std::to_string(t.nbytes) + " bytes";
  if (t.from.kind == Place::Kind::memory) text += " from " + device(t.from).str();
  if (t.to.kind == Place::Kind::memory) text += " to " + device(t.to).str();
  error.add(text);
}

}  // namespace transload
