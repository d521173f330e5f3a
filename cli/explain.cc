// explain: prints the plan of a load or of a conversion, and does neither.
#include <algorithm>
#include <iostream>

#include <fmt/format.h>

#include "commands.h"
#include "unused_rules.h"
#include "words.h"

namespace transload::cli {

void explain(const ExplainArguments& arguments) {
  const LoadOptions& options = arguments.load.options;
  const Index index = open(arguments.load.file, options.open);
  warn_of(unused_rules(index, options.select, options.map_location));
  if (!arguments.save.empty()) {
    std::cout << str(plan_convert(index, arguments.save,
                                  {.format = arguments.format,
                                   .select = options.select,
                                   .values = arguments.values,
                                   .locations = options.map_location}));
    return;
  }
  const Plan plan = plan_load(index, options);
  std::cout << str(plan);
  for (const DeviceNeed& need : plan.devices) {
    for (const MemoryUse& use : memory_for(index, options.map_location)) {
      if (use.device != need.device || use.total == 0) continue;
      std::cout << fmt::format("{} ({}): {} of {} free now{}, {} after\n", use.device.str(),
                               use.name, human_bytes(use.free), human_bytes(use.total),
                               use.limit.empty() ? "" : " by " + use.limit,
                               human_bytes(use.free - std::min(use.free, need.allocated)));
    }
  }
}

}  // namespace transload::cli
