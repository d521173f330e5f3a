// The table of backends, and the public functions of device.h that choose one by its kind.
#include "device/backend.h"
#include "device/cpu.h"
#include "device/cuda.h"
#include "device/meta.h"
#include "transload/error.h"
#include "types/nearest.h"
#include "types/quotes.h"

namespace transload {

Backend& backend_for(DeviceKind kind) {
  // In the order of DeviceKind. Never destroyed, because storages may outlive main().
  static Backend* const backends[] = {
      make_cpu_backend().release(),
      make_meta_backend().release(),
      make_cuda_backend().release(),
  };
  return *backends[static_cast<std::size_t>(kind)];
}

std::vector<Device> devices() {
  std::vector<Device> all;
  for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::meta, DeviceKind::cuda}) {
    for (int i = 0; i < backend_for(kind).device_count(); ++i)
      all.push_back({kind, static_cast<std::int16_t>(i)});
  }
  return all;
}

namespace {

std::string devices_text() {
  std::string here;
  for (const Device device : devices()) here += (here.empty() ? "" : ", ") + device.str();
  return "the devices here are " + here;
}

}  // namespace

Device device_named(std::string_view text) {
  if (const auto device = Device::parse(text)) return *device;
  const std::string quoted = in_quotes(text);
  if (is_torch_device(text)) {
    const bool is_known = Device::parse(text.substr(0, text.find(':'))).has_value();
    throw PlacementError(quoted + (is_known ? " is not here; " : " is not a supported device; ") +
                         devices_text() + "; \"cpu\" works everywhere");
  }
  static const std::vector<std::string> names = {"cpu", "meta", "cuda", "cuda:0"};
  const std::string_view near = text.starts_with("gpu") ? "cuda" : nearest(text, names);
  throw PlacementError(quoted + " is not a device; " +
                       (near.empty() ? "" : "did you mean " + in_quotes(near) + "? ") +
                       devices_text());
}

void require_present(Device device) {
  if (device.index < backend_for(device).device_count()) return;
  throw PlacementError(device.str() + " is not present; " + devices_text());
}

MemoryUse memory_use(Device device) {
  require_present(device);
  return backend_for(device).memory_use(device);
}

void empty_cache(Device device) {
  require_present(device);
  backend_for(device).empty_cache(device);
}

Storage allocate(Device device, std::uint64_t nbytes) {
  require_present(device);
  return backend_for(device).allocate(device, nbytes);
}

}  // namespace transload
