// Runs a kernel of kernels.cu on a tensor's device.
#pragma once

#include <cstdint>

#include "transload/device.h"

namespace transload::nn {

// Runs the kernel for threads 0 to threads - 1. On the cpu it is done when the call returns; on a GPU it is queued,
// before all copies that start later. Throws Error on meta, DeviceError if the driver fails. `sizes` are those of the
// arguments, checked against the kernel's own.
void launch(Device device, const char* kernel, std::int64_t threads, void** arguments,
            const std::uint32_t* sizes, int count);

// The arguments have to be of the very types of the kernel's: float, std::int64_t, pointers on the device.
template <class... Arguments>
void launch(Device device, const char* kernel, std::int64_t threads, Arguments... arguments) {
  void* pointers[] = {&arguments...};
  const std::uint32_t sizes[] = {sizeof(Arguments)...};
  launch(device, kernel, threads, pointers, sizes, static_cast<int>(sizeof...(Arguments)));
}

}  // namespace transload::nn
