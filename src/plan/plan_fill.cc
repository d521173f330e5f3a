// plan_fill and plan_copy: into tensors that already live, from a file or from other tensors. Pure.
#include <map>
#include <set>
#include <tuple>

#include "plan/box.h"
#include "plan/compose.h"
#include "plan/pieces.h"
#include "plan/plans.h"
#include "plan/transfers.h"
#include "transload/error.h"
#include "types/checked.h"

namespace transload {
namespace {

// What a tensor's elements lie in, and where: equal for two tensors if both have the same bytes in the same order.
using Region = std::tuple<const void*, std::int64_t, std::string>;

Region region_of(const Tensor& tensor, const void* storage) {
  return {storage, tensor.storage_offset(),
          std::string(name(tensor.dtype())) + tensor.shape().str() + tensor.stride().str()};
}

bool has_bytes(const Match& m) {
  return m.live.device().kind != DeviceKind::meta && m.live.numel() > 0;
}

// The matches to carry out. Where several fill the same live tensor, the last one's values would stay: the others are
// left out, so that no two threads write the same bytes.
std::vector<const Match*> last_of_each(const std::vector<Match>& matches) {
  std::map<Region, std::size_t> by_region;
  std::vector<const Match*> last;
  for (const Match& m : matches) {
    if (!has_bytes(m)) continue;
    const auto [there, is_new] =
        by_region.try_emplace(region_of(m.live, m.live.storage().identity()), last.size());
    if (is_new)
      last.push_back(&m);
    else
      last[there->second] = &m;
  }
  return last;
}

Steps steps_of(const Match& m) {
  Steps steps;
  steps.from = m.source.dtype();
  steps.to = m.live.dtype();
  steps.conj = m.source.conj != m.live.conj;
  steps.neg = m.source.neg != m.live.neg;
  steps.box = make_box(m.source, m.live);
  return steps;
}

bool changes_elements(const Steps& steps) {
  return steps.from != steps.to || steps.swap_nbytes > 1 || steps.conj || steps.neg;
}

// Plans of one kind of memory or two, with the keys that are filled.
class Filler {
 public:
  explicit Filler(const IoOptions& io) {
    plan_.slot_nbytes = slot_nbytes(io.staging_nbytes);
    plan_.rules.push_back("where the live tensor is");
  }

  // Its number in Plan::memories.
  std::uint32_t memory(const Storage& storage) {
    const auto next = static_cast<std::uint32_t>(plan_.memories.size());
    const auto [there, is_new] = memory_of_.try_emplace(storage.identity(), next);
    if (is_new) plan_.memories.push_back({storage.device(), storage.nbytes(), storage});
    return there->second;
  }

  // A transfer to a live tensor, whose source is still to be filled in.
  Transfer start(const Match& m) {
    DeviceNeed& need =
        needs_.try_emplace(m.live.device(), DeviceNeed{m.live.device()}).first->second;
    need.filled_nbytes += m.live.nbytes();
    plan_.keys.push_back(m.key);
    Transfer transfer;
    transfer.to = {Place::Kind::memory, memory(m.live.storage()), 0};
    transfer.label = static_cast<std::uint32_t>(plan_.keys.size() - 1);
    return transfer;
  }

  void add(Transfer transfer, Steps steps, std::uint64_t nbytes, BoxOrder order) {
    if (changes_elements(steps) || !is_dense(*steps.box))
      return add_boxed(plan_, transfer, std::move(steps), order);
    transfer.from.offset += steps.box->source_origin;
    transfer.to.offset += steps.box->target_origin;
    transfer.nbytes = nbytes;
    add_in_order(plan_, transfer);
  }

  Plan& plan() { return plan_; }
  Plan finished(const Index* index, const IoOptions& io) {
    for (auto& [device, need] : needs_) plan_.devices.push_back(need);
    finish(plan_, index, io);
    return std::move(plan_);
  }

 private:
  Plan plan_;
  std::map<const void*, std::uint32_t> memory_of_;  // by storage identity
  std::map<Device, DeviceNeed> needs_;
};

// The boxes from one piece to a live tensor. A storage that is one piece allows every view of it.
std::vector<Box> boxes_from(const Piece& piece, const Steps& steps, bool is_alone,
                            const std::string& key) {
  const Box& view = *steps.box;
  if (is_alone && !piece.box) {
    Box box = view;
    box.source_origin -= piece.byte_offset;
    return {box};
  }
  if (can_be_composed(view)) {
    if (auto boxes = compose(piece, view, itemsize(steps.from), itemsize(steps.to))) return *boxes;
  }
  throw UnsupportedError("\"" + key +
                         "\" lies in several pieces of the file and uses its storage with gaps or "
                         "in another order; pass transactional = true, which loads it first");
}

void fill_from_file(Filler& filler, const Match& m, const Index& index) {
  const std::span<const Piece> pieces = index.pieces_of(m.source_storage);
  require_whole(index, m.source_storage, pieces);
  Steps steps = steps_of(m);
  steps.swap_nbytes = index.storages[m.source_storage].swap_nbytes;
  Transfer transfer = filler.start(m);
  for (const Piece& piece : pieces) {
    transfer.reads = static_cast<std::uint32_t>(&piece - index.pieces.data());
    transfer.from = {Place::Kind::file, piece.extent.file, piece.extent.offset};
    for (Box& box : boxes_from(piece, steps, pieces.size() == 1, m.key)) {
      Steps part = steps;
      const std::uint64_t nbytes =
          pieces.size() == 1 && !piece.box ? m.source.nbytes() : numel(box) * itemsize(steps.from);
      part.box = std::move(box);
      filler.add(transfer, std::move(part), nbytes, BoxOrder::source);
    }
  }
}

bool on_host(const Storage& storage) { return storage.device().kind == DeviceKind::cpu; }

void fill_from_memory(Filler& filler, const Match& m) {
  Steps steps = steps_of(m);
  if (info(m.live.dtype()).bits < 8 &&
      (!is_dense(*steps.box) || m.source.storage_offset() != 0 || m.live.storage_offset() != 0)) {
    throw UnsupportedError("\"" + m.key + "\" is " + std::string(name(m.live.dtype())) +
                           ": elements smaller than a byte cannot be copied one by one");
  }
  Transfer transfer = filler.start(m);
  const Storage &from = m.source.storage(), &to = m.live.storage();
  transfer.from = {Place::Kind::memory, filler.memory(from), 0};
  const bool as_is = !changes_elements(steps) && is_dense(*steps.box);
  // Nothing is staged between GPUs. Within one storage the bytes may overlap: they are copied at once, as memmove does.
  const bool at_once = (!on_host(from) && !on_host(to)) || from.identity() == to.identity();
  if (as_is && at_once) {
    transfer.from.offset = steps.box->source_origin;
    transfer.to.offset = steps.box->target_origin;
    transfer.nbytes = m.live.nbytes();
    filler.plan().transfers.push_back(transfer);
    return;
  }
  filler.add(transfer, std::move(steps), m.live.nbytes(),
             on_host(from) ? BoxOrder::source_host : BoxOrder::source);
}

// Staging for a few small tensors is no larger than they are.
std::uint64_t useful_slot(const std::vector<const Match*>& matches, std::uint64_t slot) {
  constexpr std::uint64_t kPage = 4096;
  std::uint64_t nbytes = 0;
  for (const Match* m : matches) {
    const std::uint64_t span =
        source_span(make_box(m->source, m->live), itemsize(m->source.dtype()));
    nbytes += std::max(span, m->live.nbytes());
    if (nbytes >= slot) return slot;
  }
  return std::max(round_up(nbytes, kPage), kPage);
}

}  // namespace

Plan plan_fill(const Matches& matches, const Index& index, const IoOptions& io) {
  Filler filler(io);
  filler.plan().placements.resize(index.storages.size());
  for (const Match* m : last_of_each(matches.filled)) fill_from_file(filler, *m, index);
  return filler.finished(&index, io);
}

Plan plan_copy(const Matches& matches, const IoOptions& io) {
  Filler filler(io);
  const std::vector<const Match*> filled = last_of_each(matches.filled);
  filler.plan().slot_nbytes = useful_slot(filled, filler.plan().slot_nbytes);
  for (const Match* m : filled) fill_from_memory(filler, *m);
  return filler.finished(nullptr, io);
}

}  // namespace transload
