// The kernels of the emulated driver: C++ functions that run in place of the PTX entry of the same
// name.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "fake_machine.h"
#include "nn/kernel_table.h"

namespace fake_cuda {

struct Kernel {
  int device;
  const KernelEntry* entry;
};

// A copy of the arguments of one launch, made at the time of the call.
class Arguments {
 public:
  Arguments(const KernelEntry& entry, void** values);

  // Replaces device addresses by host addresses and returns pointers to the arguments. Returns null
  // if an address is not in a live allocation of the device. Call it once, with the machine's mutex
  // held.
  void** resolve(Machine& machine, Gpu& device);

 private:
  const KernelEntry& entry_;
  std::vector<std::vector<std::uint64_t>> words_;
  std::vector<void*> pointers_;
};

// Returns a kernel of the library or of the probe by its name, or null if there is none.
const KernelEntry* find_kernel(std::string_view name);

}  // namespace fake_cuda
