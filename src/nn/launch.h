// Runs a kernel of kernels.cu on the device of its tensors.
#pragma once

#include <cstdint>

#include "transload/device.h"

namespace transload::nn {

// Runs the kernel for threads 0 to threads - 1. On the cpu it is done when the call returns. On a
// GPU it is queued on the device's own stream; copies that are opened later wait for it. Throws
// Error on meta, DeviceError if the driver fails. `sizes` are the sizes of the arguments in bytes;
// debug builds compare them with the kernel's.
void launch(Device device, const char* kernel, std::int64_t threads, void** arguments,
            const std::uint32_t* sizes, int count);

// The argument types must be exactly those of the kernel: float, std::int64_t and pointers on the
// device.
template <class... Arguments>
void launch(Device device, const char* kernel, std::int64_t threads, Arguments... arguments) {
  void* pointers[] = {&arguments...};
  const std::uint32_t sizes[] = {sizeof(Arguments)...};
  launch(device, kernel, threads, pointers, sizes, static_cast<int>(sizeof...(Arguments)));
}

}  // namespace transload::nn
