// Loading, top to bottom: file ► Index ► Plan ► Transfers ► tensors on their devices.
//
// open() (format/formats.cc) finds the format and reads what the file holds, no tensor's bytes. plan_load()
// (plan/plan_load.cc) decides everything before anything has an effect. run_load() (transfer/engine.cc) moves each byte
// once, straight to where it is to live. Filling tensors that already live is load_into.cc.
#include <set>

#include "format/format.h"
#include "io/file.h"
#include "transfer/engine.h"
#include "transfer/verify.h"
#include "transload/transload.h"

namespace transload {
namespace {

// Each stored storage over its place in the allocated targets. One that is not loaded, or goes to meta, has no bytes.
std::vector<Storage> storages_in(const Plan& plan, std::span<const Storage> targets);

}  // namespace

StateDict load(const std::filesystem::path& path, const LoadOptions& options) {
  return load(open(path, options.open), options);  // metadata only
}

StateDict load(const Index& index, const LoadOptions& options) {
  // Every decision, before any effect; pure.
  const Plan plan = plan_load(index, options);
  // Too little memory fails here, early.
  const std::vector<Storage> targets = allocate_targets(plan, index, options.allocate);
  if (options.verify) {
    verify_metadata(index);
    run_verified_load(plan, index, targets, options.io);
  } else {
    run_load(plan, index, targets, options.io);  // the only step that takes time
  }
  require_unchanged(index.files);
  return plan.contents.over(storages_in(plan, targets));  // now over real bytes
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

VerifyResult verify(const std::filesystem::path& path, const IoOptions& io,
                    const OpenOptions& open_options) {
  const Index index = open(path, open_options);
  verify_metadata(index);
  VerifyResult result;
  std::vector<std::uint32_t> all;
  for (std::uint32_t p = 0; p < index.pieces.size(); ++p) {
    const std::uint64_t nbytes = index.storages[index.pieces[p].storage].nbytes;
    (index.pieces[p].crc32 ? result.checked_nbytes : result.unchecked_nbytes) += nbytes;
    all.push_back(p);
  }
  verify_pieces(index, all, io);
  return result;
}

namespace {

std::vector<Storage> storages_in(const Plan& plan, std::span<const Storage> targets) {
  std::vector<Storage> storages;
  storages.reserve(plan.placements.size());
  for (std::size_t s = 0; s < plan.placements.size(); ++s) {
    const Placement& placement = plan.placements[s];
    if (placement.target == Placement::kNowhere) {
      storages.push_back(plan.contents.storages()[s]);
      continue;
    }
    const Storage& target = targets[placement.target];
    if (placement.offset == 0 && placement.nbytes == target.nbytes()) {
      storages.push_back(target);
      continue;
    }
    std::byte* const data = target.data() + placement.offset;
    storages.emplace_back(target.device(), data, placement.nbytes,
                          std::shared_ptr<void>(target.owner(), data));
  }
  return storages;
}

}  // namespace
}  // namespace transload
