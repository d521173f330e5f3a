// devices: lists the devices of this machine and the use of their memory.
#include <iostream>

#include <fmt/format.h>

#include "commands.h"
#include "words.h"

namespace transload::cli {

void list_devices() {
  constexpr auto kRow = "{:<9} {:>10} {:>10} {:>10} {:>10}  {}\n";
  std::cout << fmt::format(kRow, "device", "total", "free", "allocated", "reserved", "name");
  for (const Device device : devices()) {
    if (device == kMeta) {
      std::cout << fmt::format(kRow, "meta", "-", "-", "-", "-", "shapes without bytes");
      continue;
    }
    const MemoryUse use = memory_use(device);
    std::cout << fmt::format(kRow, device.str(), human_bytes(use.total), human_bytes(use.free),
                             human_bytes(use.allocated), human_bytes(use.reserved),
                             use.limit.empty() ? use.name : use.name + ", by " + use.limit);
  }
}

}  // namespace transload::cli
