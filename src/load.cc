// Loading, top to bottom: file ► Index ► Plan ► run ► tensors on their devices.
//
// open() (format/) finds the format and reads what the file holds, except tensors' bytes. plan_load() (plan/) makes every
// decision before any of them has an effect. run() (transfer/) moves each byte once, straight to where it will live.
// Filling tensors that already live is load_into.cc.
#include <set>

#include "io/file.h"
#include "transfer/engine.h"
#include "transfer/memories.h"
#include "transload/transload.h"
#include "verify.h"

namespace transload {

StateDict load(const std::filesystem::path& path, const LoadOptions& options) {
  OpenOptions open_options = options.open;
  open_options.select = options.select;
  return load(open(path, open_options), options);
}

StateDict load(const Index& index, const LoadOptions& options) {
  const Plan plan = plan_load(index, options);
  // Too little memory fails here, before anything is read.
  const std::vector<Storage> memories = memories_of(plan, &index, options.allocate);
  if (options.verify) verify_metadata(index, options.io);
  Outcome outcome;
  run(plan, {.index = &index, .memories = memories}, options.io, outcome);
  if (options.verify) verify_loaded(index, plan, outcome, options.io);
  require_unchanged(index.files);
  return plan.contents.over(storages_in(plan, memories));
}

Plan plan_load(const Index& index, const LoadOptions& options) {
  try {
    return plan_load(index, options, memory_for(index, options.map_location));
  } catch (PlacementError& error) {
    std::string here;
    for (const Device device : devices()) here += (here.empty() ? "" : ", ") + device.str();
    error.add("the devices here are " + here);
    throw;
  }
}

std::vector<MemoryUse> memory_for(const Index& index, const MapLocation& map_location) {
  std::set<Device> wanted{kCpu, kMeta};
  std::set<std::string_view> mapped;
  bool all_mapped = false, any_device = false;
  using Of = MapLocation::Rule::Of;
  for (const MapLocation::Rule& rule : map_location.rules()) {
    wanted.insert(rule.device);
    if (rule.of == Of::tag) mapped.insert(rule.pattern);
    all_mapped = all_mapped || rule.of == Of::everything;
    any_device = any_device || rule.of == Of::automatic || rule.of == Of::function;
  }
  for (const std::string& tag : index.locations) {
    if (all_mapped || mapped.contains(tag)) continue;
    if (const auto device = Device::parse(tag)) wanted.insert(*device);
  }
  std::vector<MemoryUse> memory;
  for (const Device device : devices()) {
    if (any_device || wanted.contains(device)) memory.push_back(memory_use(device));
  }
  return memory;
}

}  // namespace transload
