// NVIDIA GPUs through the CUDA driver API: the backend for the engine, and kernel launches for nn/.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "device/backend.h"

namespace transload {

// The driver is loaded when devices are first counted. A device's primary context is retained from
// the first allocation or stream on it; counting devices or reading their memory use retains none.
//
// A copy stream starts after the kernels and frees that were queued on the device's own stream when
// it was opened. `after` is a CUstream of the device's primary context. Pass 1 (CU_STREAM_LEGACY)
// for the legacy default stream, because its handle is null.
std::unique_ptr<Backend> make_cuda_backend();

// Queues a kernel on the device's own stream, which also orders its frees, and returns at once.
// Starts at least `threads` threads in one-dimensional blocks of 256, so the kernel must check its
// index. `ptx` is a NUL-terminated constant of the program and is loaded once per device.
// `arguments` are pointers to the argument values, as for cuLaunchKernel; they are read before the
// call returns. Throws DeviceError.
void launch_on_cuda(Device device, std::string_view ptx, const char* kernel, std::uint64_t threads,
                    void** arguments);

}  // namespace transload
