// load_bench FILE MAP_LOCATION ROUNDS: prints the seconds that each load takes, one per line. The
// devices are in use before the clock starts, as in a process that already works there; everything
// else that a load needs is measured.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "transload/transload.h"

int main(int argc, char** argv) try {
  using namespace transload;
  if (argc != 4) {
    std::fputs("usage: load_bench FILE MAP_LOCATION ROUNDS\n", stderr);
    return 2;
  }
  const LoadOptions options{.map_location = argv[2]};
  const Index index = open(argv[1]);
  std::vector<Storage> in_use;
  for (const DeviceNeed& need : plan_load(index, options, memory_for(index, argv[2])).devices) {
    if (need.device.kind != DeviceKind::meta) in_use.push_back(allocate(need.device, 1));
  }
  for (int round = 0; round < std::atoi(argv[3]); ++round) {
    const auto start = std::chrono::steady_clock::now();
    const StateDict loaded = load(argv[1], options);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("%.6f\n", took.count());
  }
} catch (const transload::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
