// map_location: rules as text, and which of them decides.
#include "plan/select.h"
#include "transload/error.h"
#include "transload/plan.h"

namespace transload {
namespace {

Device device_of(std::string_view text, std::string_view rule) {
  if (const auto device = Device::parse(text)) return *device;
  throw PlacementError("map_location \"" + std::string(rule) + "\": \"" + std::string(text) +
                       "\" is no device; expected cpu, meta, cuda, or cuda:N");
}

}  // namespace

std::string MapLocation::Rule::str() const {
  switch (of) {
    case Of::everything:
      return device.str();
    case Of::tag:
      return pattern + "=" + device.str();
    case Of::key:
      return pattern + ":" + device.str();
    case Of::function:
      return "a function";
    case Of::automatic:
      return "auto";
  }
  return "";
}

std::optional<Device> MapLocation::Rule::device_for(const Stored& storage) const {
  const auto if_it = [&](bool does_fit) { return does_fit ? std::optional(device) : std::nullopt; };
  switch (of) {
    case Of::everything:
      return device;
    case Of::tag:
      return if_it(pattern == storage.tag);
    case Of::key:
      return if_it(fits(pattern, storage.key));
    case Of::function:
      return function(storage);
    case Of::automatic:
      break;
  }
  return std::nullopt;
}

MapLocation::Rule MapLocation::parse(std::string_view text) {
  if (text == "auto") return {Rule::Of::automatic, "", kCpu, {}};
  if (const auto device = Device::parse(text)) return {Rule::Of::everything, "", *device, {}};
  if (const std::size_t equals = text.rfind('='); equals != std::string_view::npos) {
    return {Rule::Of::tag,
            std::string(text.substr(0, equals)),
            device_of(text.substr(equals + 1), text),
            {}};
  }
  // GLOB:DEVICE, where the device may hold a colon itself.
  for (std::size_t colon = text.find(':'); colon != std::string_view::npos;
       colon = text.find(':', colon + 1)) {
    if (const auto device = Device::parse(text.substr(colon + 1))) {
      return {Rule::Of::key, std::string(text.substr(0, colon)), *device, {}};
    }
  }
  throw PlacementError(
      "map_location \"" + std::string(text) +
      "\": expected a device (cpu, meta, cuda:0), TAG=DEVICE, GLOB:DEVICE or auto");
}

MapLocation::MapLocation(Device device) { add({Rule::Of::everything, "", device, {}}); }
MapLocation::MapLocation(std::string_view text) { add(parse(text)); }
MapLocation::MapLocation(Function function) {
  add({Rule::Of::function, "", kCpu, std::move(function)});
}
MapLocation::MapLocation(std::initializer_list<const char*> rules) {
  for (const char* rule : rules) add(parse(rule));
}

}  // namespace transload
