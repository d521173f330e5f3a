#include "transfer/queue.h"

#include <algorithm>

#include "plan/pieces.h"

namespace transload {
namespace {

constexpr std::uint32_t kMaxGroup = 256;
constexpr std::uint64_t kAhead = 32 << 20;  // bytes to be prefetched

bool is_deflated(const Transfer& t, const Index& index) {
  return t.from.kind == Place::Kind::file && stored(index, t.reads).encoding != Encoding::as_is;
}

}  // namespace

Group TransferQueue::next() {
  const std::lock_guard lock(mutex_);
  const auto count = static_cast<std::uint32_t>(run_.plan.transfers.size());
  if (next_ == count) return {};
  Group group{next_, next_ + 1};
  if (const Index* const index = run_.ends.index) {
    const Transfer& first = run_.transfer(next_);
    if (is_straight(first, *index) && first.to.kind != Place::Kind::file)
      extend_together(group);
    else if (is_deflated(first, *index))
      extend_inflating(group);
    for (std::uint32_t t = group.begin; t < group.end; ++t) read_nbytes_ += run_.transfer(t).nbytes;
    group.ahead_begin = ahead_;
    while (ahead_ < count && ahead_nbytes_ < read_nbytes_ + kAhead)
      ahead_nbytes_ += run_.transfer(ahead_++).nbytes;
    group.ahead_end = ahead_;
  }
  next_ = group.end;
  return group;
}

// Small transfers whose bytes lie close to each other in one file, and go to one kind of place.
void TransferQueue::extend_together(Group& group) const {
  const auto count = static_cast<std::uint32_t>(run_.plan.transfers.size());
  const Transfer& first = run_.transfer(group.begin);
  std::uint64_t end = first.from.offset + first.nbytes;
  group.together = true;
  for (; group.end < count && group.end - group.begin < kMaxGroup; ++group.end) {
    const Transfer& t = run_.transfer(group.end);
    if (!is_straight(t, *run_.ends.index) || t.from.number != first.from.number ||
        t.to.kind != first.to.kind || run_.device(t.to) != run_.device(first.to) ||
        t.from.offset < end || t.from.offset - end > kMaxGap ||
        t.from.offset + t.nbytes - first.from.offset > run_.plan.slot_nbytes)
      return;
    end = t.from.offset + t.nbytes;
  }
}

// One thread inflates a piece from its beginning to its end.
void TransferQueue::extend_inflating(Group& group) const {
  const auto count = static_cast<std::uint32_t>(run_.plan.transfers.size());
  const std::uint32_t piece = run_.transfer(group.begin).reads;
  while (group.end < count && run_.transfer(group.end).reads == piece) ++group.end;
}

// One call for what lies together. Deflated pieces are skipped: where in the file their bytes are read is not known in
// advance.
void TransferQueue::prefetch(const Group& group) const {
  const Index* const index = run_.ends.index;
  for (std::uint32_t t = group.ahead_begin; t < group.ahead_end;) {
    const Transfer& first = run_.transfer(t++);
    if (first.from.kind != Place::Kind::file || is_deflated(first, *index)) continue;
    const std::uint64_t begin = first.from.offset;
    std::uint64_t end = begin + first.nbytes;
    for (; t < group.ahead_end && run_.transfer(t).from.number == first.from.number; ++t) {
      const Transfer& next = run_.transfer(t);
      if (next.from.offset < begin || next.from.offset > end + kMaxGap ||
          end - begin >= run_.plan.slot_nbytes || is_deflated(next, *index))
        break;
      end = std::max(end, next.from.offset + next.nbytes);
    }
    if (end > begin) index->files[first.from.number].source->prefetch(begin, end - begin);
  }
}

}  // namespace transload
