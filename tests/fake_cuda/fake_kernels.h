// Kernels of the emulated driver: the C++ functions that a kernel's name stands for.
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

// The arguments of one launch, as they were when it was called.
class Arguments {
 public:
  Arguments(const KernelEntry& entry, void** values);

  // With the addresses of device memory replaced by where the bytes really are: once only. Null if one of them is not
  // in a live allocation of the device. The machine is locked.
  void** resolve(Machine& machine, Gpu& device);

 private:
  const KernelEntry& entry_;
  std::vector<std::vector<std::uint64_t>> words_;
  std::vector<void*> pointers_;
};

// The library's kernels and the probe's. Null if there is none of that name.
const KernelEntry* find_kernel(std::string_view name);

}  // namespace fake_cuda
