// explain: prints the plan of a load, and loads nothing.
#include <algorithm>
#include <iostream>

#include <fmt/format.h>

#include "commands.h"
#include "words.h"

namespace transload::cli {

void explain(const LoadArguments& arguments) {
  const Index index = open(arguments.file, arguments.options.open);
  const Plan plan = plan_load(index, arguments.options);
  std::cout << str(plan);
  for (const DeviceNeed& need : plan.devices) {
    for (const MemoryUse& use : memory_for(index, arguments.options.map_location)) {
      if (use.device != need.device || use.total == 0) continue;
      std::cout << fmt::format("{} ({}): {} of {} free now, {} after\n", use.device.str(), use.name,
                               human_bytes(use.free), human_bytes(use.total),
                               human_bytes(use.free - std::min(use.free, need.allocated)));
    }
  }
}

}  // namespace transload::cli
