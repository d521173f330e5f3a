#include "plan/choose_device.h"

#include <algorithm>
#include <limits>

#include "plan/select.h"
#include "transload/error.h"
#include "types/checked.h"
#include "values/node_table.h"

namespace transload {
namespace {

const Setting kAllToCpu{"map_location", {"cpu"}};

}  // namespace

DeviceChooser::DeviceChooser(const Index& index, const StateDict& contents,
                             const LoadOptions& options, const std::vector<MemoryUse>& memory)
    : index_(index), contents_(contents), options_(options), memory_(memory) {
  for (const MemoryUse& use : memory)
    left_[use.device] = std::min(use.free, memory_limit(options, use.device));
  name_storages();
}

Decision DeviceChooser::decide(std::uint32_t s, std::uint64_t nbytes) {
  const Decision decision = by_rules(s, nbytes);
  if (left_.contains(decision.device)) return decision;
  PlacementError error(in_file() + "rule \"" + options_.map_location.rules()[decision.rule].str() +
                       "\" sends " + user_of(s) + " to " + decision.device.str() +
                       ", which is not here");
  error.add_advice("", {kAllToCpu}, " loads everything to the CPU");
  throw error;
}

void DeviceChooser::take(Device device, std::uint64_t nbytes) {
  left_[device] -= std::min(left_[device], nbytes);
}

// Only rules over keys and functions need names.
void DeviceChooser::name_storages() {
  const auto& rules = options_.map_location.rules();
  const bool needed = std::any_of(rules.begin(), rules.end(), [](const MapLocation::Rule& rule) {
    return rule.of == MapLocation::Rule::Of::key || rule.of == MapLocation::Rule::Of::function;
  });
  if (!needed) return;
  keys_.resize(index_.storages.size());
  for (const NamedTensor& tensor : contents_.tensors()) {
    const std::uint32_t s = tensor.value.storage_number();
    if (s != TensorRow::kNoStorage) keys_[s].push_back(tensor.name);
  }
}

// The first of the rules over keys that fits each tensor's name: they must agree.
std::optional<Decision> DeviceChooser::by_key(std::uint32_t s) const {
  const auto& rules = options_.map_location.rules();
  std::optional<Decision> decided;
  const std::string* decided_by = nullptr;
  for (const std::string& key : keys_[s]) {
    for (std::uint32_t r = 0; r < rules.size(); ++r) {
      if (rules[r].of != MapLocation::Rule::Of::key || !fits(rules[r].pattern, key)) continue;
      if (decided && decided->device != rules[r].device) {
        throw PlacementError(in_file() + "\"" + *decided_by + "\" and \"" + key +
                             "\" share storage \"" + index_.storages[s].key +
                             "\", but the rules send it to " + decided->device.str() + " and to " +
                             rules[r].device.str());
      }
      if (!decided) decided = Decision{rules[r].device, r}, decided_by = &key;
      break;
    }
  }
  return decided;
}

Device DeviceChooser::automatic(std::uint64_t nbytes) {
  const MemoryUse* best = nullptr;
  for (const MemoryUse& use : memory_) {
    const bool accelerator = use.device != kCpu && use.device != kMeta;
    if (!accelerator || left_[use.device] < nbytes + use.alignment + use.granularity) continue;
    // The device that was filled last goes on being filled: layers stay together.
    if (use.device == last_automatic_) return use.device;
    if (!best || left_[use.device] > left_[best->device]) best = &use;
  }
  return last_automatic_ = best ? best->device : kCpu;
}

Decision DeviceChooser::by_rules(std::uint32_t s, std::uint64_t nbytes) {
  const std::string& tag = index_.locations[index_.storages[s].location];
  const auto& rules = options_.map_location.rules();
  const std::optional<Decision> of_key = keys_.empty() ? std::nullopt : by_key(s);
  const MapLocation::Stored stored{
      tag, index_.storages[s].nbytes,
      keys_.empty() || keys_[s].empty() ? std::string_view() : keys_[s].front()};
  using Of = MapLocation::Rule::Of;
  for (std::uint32_t r = 0; r < rules.size(); ++r) {
    if (rules[r].of == Of::automatic) return {automatic(nbytes), r};
    if (rules[r].of == Of::key) {
      if (of_key && of_key->rule == r) return *of_key;
    } else if (const auto device = rules[r].device_for(stored)) {
      return {*device, r};
    }
  }
  const auto saved = Device::parse(tag);
  if (saved && left_.contains(*saved)) return {*saved, static_cast<std::uint32_t>(rules.size())};
  PlacementError error(in_file() + user_of(s) + " was saved on \"" + tag + "\", which is not here");
  error.add_advice("", {kAllToCpu}, " loads everything to the CPU");
  error.add_advice("", {mappings_needed()}, " loads what was saved on such devices there");
  throw error;
}

std::string DeviceChooser::user_of(std::uint32_t s) const {
  for (const NamedTensor& tensor : contents_.tensors()) {
    if (tensor.value.storage_number() == s) return "\"" + tensor.name + "\"";
  }
  return "storage \"" + index_.storages[s].key + "\"";
}

// For each tag of a device that is not here.
Setting DeviceChooser::mappings_needed() const {
  Setting setting{"map_location", {}};
  for (const std::string& tag : index_.locations) {
    const auto device = Device::parse(tag);
    if (device && left_.contains(*device)) continue;
    setting.values.push_back(tag);
    setting.mapped_to.emplace_back("cpu");
  }
  return setting;
}

std::uint64_t memory_limit(const LoadOptions& options, Device device) {
  for (const auto& [of, nbytes] : options.memory_limits) {
    if (of == device) return nbytes;
  }
  return std::numeric_limits<std::uint64_t>::max();
}

namespace {

// How many bytes of `allocated` an allocation takes.
std::uint64_t rounded(std::uint64_t nbytes, const MemoryUse& memory) {
  return nbytes == 0 ? 0 : round_up(nbytes, memory.granularity);
}

// Which limit of the process decides how much is free: ", by RLIMIT_AS".
std::string limit_of(const MemoryUse& memory) {
  return memory.limit.empty() ? "" : ", by " + memory.limit;
}

// `fits_on`: the other devices that have the memory.
std::string way_out(Device device, const std::string& fits_on) {
  if (!fits_on.empty()) return "it would fit on " + fits_on;
  return device == kCpu ? "load fewer tensors (`keep`) or map the file instead (mmap)"
                        : "map some keys elsewhere, or pass map_location \"auto\"";
}

}  // namespace

void require_memory(Plan& plan, const LoadOptions& options, const std::vector<MemoryUse>& memory) {
  for (DeviceNeed& need : plan.devices) {
    const auto there = std::find_if(memory.begin(), memory.end(), [&](const MemoryUse& use) {
      return use.device == need.device;
    });
    for (const Memory& planned : plan.memories) {
      if (planned.device == need.device && !planned.mapped_file)
        need.allocated += rounded(planned.nbytes, *there);
    }
    if (need.device.kind == DeviceKind::meta) continue;
    // Memory that the pool holds and no storage uses is available too.
    const std::uint64_t most = memory_limit(options, need.device);
    const std::uint64_t available = std::min(
        most, there->free + (there->reserved - std::min(there->reserved, there->allocated)));
    if (need.allocated <= available) continue;
    std::string fits_on;
    for (const MemoryUse& use : memory) {
      if (use.device.kind != DeviceKind::meta && use.device != need.device &&
          std::min(use.free, memory_limit(options, use.device)) >= need.allocated) {
        fits_on += (fits_on.empty() ? "" : ", ") + use.device.str();
      }
    }
    throw DeviceError(need.device.str() + ": the plan needs " + human_bytes(need.allocated) + " (" +
                      std::to_string(need.allocated) + " bytes), " + human_bytes(available) +
                      (available == most ? " are allowed" : " are free") + limit_of(*there) + "; " +
                      way_out(need.device, fits_on));
  }
}

}  // namespace transload
