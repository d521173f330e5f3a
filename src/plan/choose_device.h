// Which device a storage goes to, by the rules of map_location and the memory there is.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "transload/error.h"
#include "transload/options.h"

namespace transload {

struct Decision {
  Device device;
  std::uint32_t rule;  // number in MapLocation::rules(); their count: where it was saved
};

// Decides one storage after the other; `automatic` rules go by the memory that those before have left.
class DeviceChooser {
 public:
  // `contents`: what is loaded of the index. All arguments have to outlive it.
  DeviceChooser(const Index& index, const StateDict& contents, const LoadOptions& options,
                const std::vector<MemoryUse>& memory);

  // For a storage that will have so many bytes. Throws PlacementError if rules conflict or the device is not here.
  Decision decide(std::uint32_t storage, std::uint64_t nbytes);

  // Says that a storage was placed, or that its device has to hold so much more.
  void take(Device device, std::uint64_t nbytes);
  std::uint64_t left(Device device) const { return left_.at(device); }

 private:
  void name_storages();
  std::optional<Decision> by_key(std::uint32_t s) const;
  Device automatic(std::uint64_t nbytes);
  Decision by_rules(std::uint32_t s, std::uint64_t nbytes);
  std::string user_of(std::uint32_t s) const;
  Setting mappings_needed() const;
  std::string in_file() const { return index_.files.front().name + ": "; }

  const Index& index_;
  const StateDict& contents_;
  const LoadOptions& options_;
  const std::vector<MemoryUse>& memory_;
  std::vector<std::vector<std::string>> keys_;  // by storage; empty if no rule asks for them
  std::map<Device, std::uint64_t> left_;
  Device last_automatic_ = kMeta;
};

// How much the options allow to be taken of a device.
std::uint64_t memory_limit(const LoadOptions& options, Device device);

// Fills in how much each device's memory will grow. Throws DeviceError if it is more than there is, with the devices that
// have as much.
void require_memory(Plan& plan, const LoadOptions& options, const std::vector<MemoryUse>& memory);

}  // namespace transload
