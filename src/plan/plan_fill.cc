// plan_fill: the copies from a file into tensors that already live.
#include <map>
#include <set>
#include <tuple>

#include "plan/match.h"
#include "plan/transfers.h"
#include "plan/box.h"
#include "plan/pieces.h"

namespace transload {

Plan plan_fill(const Matches& matches, const Index& index, const FillOptions& options) {
  const std::vector<std::uint32_t> pieces = pieces_by_storage(index);
  Plan plan;
  plan.rules.push_back("where the live tensor is");
  plan.slot_nbytes = slot_nbytes(options.io.staging_nbytes);
  plan.placements.resize(index.storages.size());
  std::map<const void*, std::uint32_t> target_of;  // by storage identity
  std::map<Device, DeviceNeed> needs;
  std::set<std::tuple<std::uint32_t, std::uint64_t, std::uint32_t, std::uint64_t, std::string>>
      filled;
  for (const Match& m : matches.filled) {
    if (m.live.device().kind == DeviceKind::meta || m.live.numel() == 0) continue;
    const auto next = static_cast<std::uint32_t>(plan.targets.size());
    const auto [target, is_new] = target_of.try_emplace(m.live.storage().identity(), next);
    if (is_new)
      plan.targets.push_back({m.live.device(), m.live.storage().nbytes(), m.live.storage()});
    const StoredStorage& stored = index.storages[m.source_storage];
    Steps steps;
    steps.from = m.source.dtype();
    steps.to = m.live.dtype();
    steps.swap_nbytes = stored.swap_nbytes;
    steps.conj = m.source.conj != m.live.conj;
    steps.neg = m.source.neg != m.live.neg;
    steps.box = make_box(m.source, m.live);
    // Tied weights are tied on both sides: their bytes are read once.
    if (!filled
             .emplace(m.source_storage, steps.box->source_origin, target->second,
                      steps.box->target_origin, m.live.shape().str() + m.live.stride().str())
             .second) {
      continue;
    }
    DeviceNeed& need =
        needs.try_emplace(m.live.device(), DeviceNeed{m.live.device()}).first->second;
    need.filled_nbytes += m.live.nbytes();
    const auto key = static_cast<std::uint32_t>(plan.keys.size());
    plan.keys.push_back(m.key);
    const bool as_is = steps.from == steps.to && steps.swap_nbytes == 1 && !steps.conj &&
                       !steps.neg && is_dense(*steps.box);
    const std::uint32_t piece = pieces[m.source_storage];
    if (as_is) {
      add_in_order(plan, {.piece = piece,
                          .target = target->second,
                          .piece_offset = steps.box->source_origin,
                          .nbytes = m.source.nbytes(),
                          .target_offset = steps.box->target_origin,
                          .fills = key});
    } else {
      add_boxed(plan, piece, target->second, std::move(steps), key);
    }
  }
  for (auto& [device, need] : needs) plan.devices.push_back(need);
  finish(plan, index, options.io);
  return plan;
}

}  // namespace transload
