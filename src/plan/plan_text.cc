// A plan as `explain` prints it.
#include <algorithm>

#include "transload/plan.h"
#include "types/checked.h"

namespace transload {

std::string str(const Plan& plan, const Index& index) {
  std::string text;
  for (const DeviceNeed& need : plan.devices) {
    text += need.device.str() + ": ";
    if (need.filled_nbytes) {
      text += std::to_string(need.filled_nbytes) +
              " bytes into tensors that live there; nothing is allocated\n";
      continue;
    }
    std::uint64_t storages = 0, targets = 0;
    std::vector<bool> rules(plan.rules.size());
    for (const Placement& placement : plan.placements) {
      if (placement.target == Placement::kNowhere ||
          plan.targets[placement.target].device != need.device)
        continue;
      ++storages;
      rules[placement.rule] = true;
    }
    for (const Target& target : plan.targets)
      targets += target.device == need.device && !target.mapped_file;
    text += std::to_string(need.storage_nbytes) + " bytes in " + std::to_string(storages) +
            (storages == 1 ? " storage" : " storages") + ", by rule ";
    bool first = true;
    for (std::size_t r = 0; r < rules.size(); ++r) {
      if (!rules[r]) continue;
      text += (first ? "\"" : ", \"") + plan.rules[r] + "\"";
      first = false;
    }
    if (first) text += "none";
    text += "\n  " + std::to_string(targets) + (targets == 1 ? " allocation" : " allocations") +
            ", which take " + std::to_string(need.allocated) + " bytes there";
    if (need.mapped_nbytes)
      text += ", and " + std::to_string(need.mapped_nbytes) + " bytes stay in the mapped file";
    if (need.device.kind != DeviceKind::meta) text += "; " + human_bytes(need.free) + " are free";
    text += '\n';
  }
  text += "read from " +
          (index.files.empty() ? std::string("memory") : index.files.front().name) + ": " +
          std::to_string(plan.transfer_nbytes) + " bytes in " +
          std::to_string(plan.transfers.size()) +
          (plan.transfers.size() == 1 ? " transfer" : " transfers") + "\n";
  text += "host memory besides: " + human_bytes(plan.staging_nbytes) + " of staging\n";
  return text;
}

}  // namespace transload
