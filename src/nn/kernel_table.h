// The kernels of kernels.cu, compiled as C++ and listed by name. launch.cc runs them on the cpu
// device, the emulated driver (tests/fake_cuda) runs them in place of PTX.
#pragma once

#include <cstdint>
#include <span>

namespace transload {

struct KernelEntry {
  const char* name;
  // Does the work of one GPU thread. `arguments` are pointers to the argument values, as for
  // cuLaunchKernel.
  void (*run)(std::int64_t thread, void** arguments);
  const std::uint32_t* argument_nbytes;  // size of each argument
  int argument_count;
};

// Returns all kernels. Defined in kernels.cu. Any thread may call it and run its kernels.
std::span<const KernelEntry> kernel_table();

}  // namespace transload
