// The text form of devices ("cuda:1") and of sizes ("1.50 MB").
#include "transload/device.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include <charconv>

namespace transload {

bool is_torch_device(std::string_view text) {
  // pytorch c10/core/DeviceType.cpp, and the names that extensions give "privateuseone".
  constexpr std::array<std::string_view, 22> kinds = {
      "cpu",  "cuda", "meta",  "mps",           "xpu",    "hpu",    "mtia", "xla",
      "hip",  "npu",  "mlu",   "musa",          "ipu",    "vulkan", "ve",   "fpga",
      "maia", "lazy", "ideep", "privateuseone", "mkldnn", "opencl"};
  const std::size_t colon = text.find(':');
  if (std::ranges::find(kinds, text.substr(0, colon)) == kinds.end()) return false;
  if (colon == std::string_view::npos) return true;
  const std::string_view index = text.substr(colon + 1);
  return !index.empty() && index.find_first_not_of("0123456789") == std::string_view::npos &&
         (index == "0" || index.front() != '0');
}

std::optional<Device> Device::parse(std::string_view text) {
  if (text == "cpu") return kCpu;
  if (text == "meta") return kMeta;
  if (text == "cuda") return cuda(0);
  constexpr std::string_view prefix = "cuda:";
  if (!text.starts_with(prefix)) return std::nullopt;
  text.remove_prefix(prefix.size());
  // No leading zero: torch rejects "cuda:01" (pytorch c10/core/Device.cpp).
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
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

std::string human_bytes(std::uint64_t nbytes) {
  if (nbytes < 1000) return std::to_string(nbytes) + (nbytes == 1 ? " byte" : " bytes");
  constexpr std::array<const char*, 6> units = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(nbytes) / 1000;
  std::size_t unit = 0;
  // The bounds are the values that would round up to a fourth digit.
  while (value >= 999.5 && unit + 1 < units.size()) value /= 1000, ++unit;
  std::array<char, 32> text;
  const int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  std::snprintf(text.data(), text.size(), "%.*f %s", digits, value, units[unit]);
  return text.data();
}

}  // namespace transload
