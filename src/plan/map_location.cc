// map_location: rules as text, and which of them decides. Asks for devices only to list them in an
// error.
#include "plan/select.h"
#include "transload/error.h"
#include "transload/plan.h"
#include "types/nearest.h"
#include "types/quotes.h"

namespace transload {
namespace {

Device device_of(std::string_view text, std::string_view rule) {
  try {
    return device_named(text);
  } catch (const PlacementError& error) {
    throw PlacementError("map_location " + in_quotes(rule) + ": " + error.what());
  }
}

// The device of PyTorch that a text names, alone or after "GLOB:"; "" if it names none.
std::string_view torch_device_in(std::string_view text) {
  while (!is_torch_device(text)) {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return "";
    text.remove_prefix(colon + 1);
  }
  return text;
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
  if (const std::string_view device = torch_device_in(text); !device.empty())
    return {Rule::Of::everything, "", device_of(device, text), {}};  // throws
  static const std::vector<std::string> words = {"cpu", "meta", "cuda", "cuda:0", "auto"};
  const std::string_view near = nearest(text, words);
  throw PlacementError("map_location " + in_quotes(text) +
                       ": expected a device (cpu, meta, cuda:N), TAG=DEVICE, GLOB:DEVICE or auto" +
                       (near.empty() ? "" : "; did you mean " + in_quotes(near) + "?"));
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
