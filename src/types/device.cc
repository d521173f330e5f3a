#include "transload/device.h"

#include <charconv>

namespace transload {

std::optional<Device> Device::parse(std::string_view text) {
  if (text == "cpu") return kCpu;
  if (text == "meta") return kMeta;
  if (text == "cuda") return cuda(0);
  constexpr std::string_view prefix = "cuda:";
  if (!text.starts_with(prefix)) return std::nullopt;
  text.remove_prefix(prefix.size());
  if (text.empty() || (text.size() > 1 && text[0] == '0'))
    return std::nullopt;  // torch refuses "cuda:01"
  std::int16_t number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return cuda(number);
}

std::string Device::str() const {
  switch (kind) {
    case DeviceKind::cpu:
      return "cpu";
    case DeviceKind::meta:
      return "meta";
    case DeviceKind::cuda:
      break;
  }
  return "cuda:" + std::to_string(index);
}

}  // namespace transload
