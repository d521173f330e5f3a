// What users write: devices, rules of map_location, patterns of names, dtypes. A rule as it prints is the same rule.
#include <cstdlib>
#include <string>

#include "plan/select.h"
#include "transload/transload.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t nbytes) {
  using namespace transload;
  const std::string text(reinterpret_cast<const char*>(data), nbytes);
  if (const auto device = Device::parse(text); device && Device::parse(device->str()) != device)
    std::abort();
  if (const auto dtype = dtype_from_name(text); dtype && dtype_from_name(name(*dtype)) != dtype)
    std::abort();
  try {
    const MapLocation::Rule rule = MapLocation::parse(text);
    const MapLocation::Rule again = MapLocation::parse(rule.str());
    if (again.of != rule.of || again.pattern != rule.pattern || again.device != rule.device)
      std::abort();
  } catch (const Error&) {
  }
  const std::size_t half = nbytes / 2;
  fits(text.substr(0, half), text.substr(half));
  if (!fits("*", text)) std::abort();
  return 0;
}
