// The kernels of kernels.cu as C++ functions, by name: for the cpu device and for the emulated driver.
#pragma once

#include <cstdint>
#include <span>

namespace transload {

struct KernelEntry {
  const char* name;
  // Does the work of one thread. `arguments` point to the arguments' values, as cuLaunchKernel takes them.
  void (*run)(std::int64_t thread, void** arguments);
  const std::uint32_t* argument_nbytes;
  int argument_count;
};

// Defined in kernels.cu. May be used from any thread.
std::span<const KernelEntry> kernel_table();

}  // namespace transload
