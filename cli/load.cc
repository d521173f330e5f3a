// load: loads a file and reports where its bytes went, how fast, and by how much the memory of each
// device grew.
#include <iostream>

#include <fmt/format.h>

#include "commands.h"
#include "progress.h"
#include "unused_rules.h"
#include "words.h"

namespace transload::cli {

void load_file(const LoadArguments& arguments) {
  const Index index = open(arguments.file, arguments.options.open);
  warn_of(unused_rules(index, arguments.options.select, arguments.options.map_location));
  const Plan plan = plan_load(index, arguments.options);
  std::vector<std::uint64_t> allocated_before;
  for (const DeviceNeed& need : plan.devices)
    allocated_before.push_back(memory_use(need.device).allocated);

  LoadOptions options = arguments.options;
  StateDict state;
  const double seconds = run_with_progress(options.io, [&] { state = load(index, options); });

  std::cout << fmt::format("{}: {} tensors, {} read in {:.3f} s, {}\n", arguments.file.string(),
                           state.tensors().size(), human_bytes(plan.transfer_nbytes), seconds,
                           human_rate(plan.transfer_nbytes, seconds));
  for (std::size_t i = 0; i < plan.devices.size(); ++i) {
    const DeviceNeed& need = plan.devices[i];
    std::cout << fmt::format("{}: {} of tensors", need.device.str(),
                             human_bytes(need.storage_nbytes));
    if (need.device.kind != DeviceKind::meta) {
      const std::uint64_t grown = memory_use(need.device).allocated - allocated_before[i];
      std::cout << fmt::format("; allocated memory grew by {} bytes, {} planned", grown,
                               need.allocated);
    }
    std::cout << "\n";
  }
}

}  // namespace transload::cli
