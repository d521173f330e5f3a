// A plan as `explain` prints it.
#include <algorithm>

#include "transload/plan.h"
#include "types/checked.h"

namespace transload {
namespace {

// "1 transfer", "3 transfers".
std::string counted(std::uint64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string_view how(How how) {
  switch (how) {
    case How::cached:
      return "through the page cache";
    case How::direct:
      return "past the page cache";
    case How::mapped:
      return "by mapping it";
  }
  return "";
}

std::string described(const FileUse& use) {
  return std::string(how(use.how)) + (use.why.empty() ? "" : " (" + use.why + ")");
}

// The rules by which storages go to a device.
std::string rules_of(const Plan& plan, Device device, std::uint64_t& storages) {
  std::vector<bool> used(plan.rules.size());
  for (const Placement& placement : plan.placements) {
    if (placement.memory == Placement::kNowhere || plan.memories[placement.memory].device != device)
      continue;
    ++storages;
    used[placement.rule] = true;
  }
  std::string text;
  for (std::size_t r = 0; r < used.size(); ++r)
    if (used[r]) text += (text.empty() ? "\"" : ", \"") + plan.rules[r] + "\"";
  return text.empty() ? "none" : text;
}

std::string str(const Plan& plan, const DeviceNeed& need) {
  std::string text = need.device.str() + ": ";
  if (need.filled_nbytes) {
    return text + std::to_string(need.filled_nbytes) +
           " bytes into tensors that live there; nothing is allocated\n";
  }
  std::uint64_t storages = 0;
  const std::string rules = rules_of(plan, need.device, storages);
  const auto allocations = std::ranges::count_if(plan.memories, [&](const Memory& memory) {
    return memory.device == need.device && !memory.mapped_file;
  });
  text += std::to_string(need.storage_nbytes) + " bytes in " + counted(storages, "storage") +
          ", by rule " + rules + "\n  " +
          counted(static_cast<std::uint64_t>(allocations), "allocation") + " of " +
          std::to_string(need.allocated) + " bytes there";
  if (need.mapped_nbytes)
    text += ", and " + std::to_string(need.mapped_nbytes) + " bytes stay in the mapped file";
  if (need.device.kind != DeviceKind::meta) text += "; " + human_bytes(need.free) + " are free";
  return text + '\n';
}

// Files that are read: all of them in one line, and one more for each that is not read through the page cache.
std::string inputs_of(const Plan& plan) {
  const std::string transfers = std::to_string(plan.transfer_nbytes) + " bytes in " +
                                counted(plan.transfers.size(), "transfer");
  if (plan.inputs.empty()) return "copy in memory: " + transfers + "\n";
  std::string text =
      "read from " + plan.inputs.front().name +
      (plan.inputs.size() > 1 ? " and " + counted(plan.inputs.size() - 1, "more file")
                              : std::string()) +
      ": " + transfers + "\n";
  for (const FileUse& use : plan.inputs)
    if (use.how != How::cached) text += "  " + use.name + ": " + described(use) + "\n";
  return text;
}

}  // namespace

std::string str(const Plan& plan) {
  std::string text;
  for (const DeviceNeed& need : plan.devices) text += str(plan, need);
  text += inputs_of(plan);
  for (const FileUse& use : plan.outputs) {
    text += "write " + (use.name.empty() ? std::string("the file") : use.name) + ": " +
            std::to_string(use.nbytes) + " bytes of tensors, " + described(use) + "\n";
  }
  if (!plan.checked.empty())
    text += "compare with checksums: " + counted(plan.checked.size(), "piece") + "\n";
  text += "host memory besides: " + human_bytes(plan.staging_nbytes) + " of staging\n";
  return text;
}

}  // namespace transload
