// GPUs, through the CUDA driver API. And for nn/: kernels on them.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "device/backend.h"

namespace transload {

// Loads the driver when first asked for a device, never earlier. Works in each device's primary context, from the
// first real use of that device on; a device that is only counted or asked for its memory keeps none.
//
// Copy streams start after the kernels that were launched and the storages that were freed when they are opened.
// Their `after` is a CUstream of the device's primary context; for the legacy default stream, whose handle is
// null, it is 1 (CU_STREAM_LEGACY).
std::unique_ptr<Backend> make_cuda_backend();

// Queues a kernel on the device's own stream, on which its memory is freed too, and goes on. Runs at least `threads`
// threads, one-dimensional, in blocks of 256: the kernel has to check its index. `ptx` is a constant of the program,
// ends with '\0', and is loaded once for each device. `arguments` are pointers to the arguments' values, as
// cuLaunchKernel takes them, read before the call returns. Throws DeviceError.
void launch_on_cuda(Device device, std::string_view ptx, const char* kernel, std::uint64_t threads,
                    void** arguments);

}  // namespace transload
