// Runs kernels: on the cpu device in the calling thread, on a GPU through device/cuda.h.
#include "nn/launch.h"

#include <algorithm>
#include <cassert>
#include <string>
#include <string_view>

#include "device/cuda.h"
#include "nn/kernel_table.h"
#include "transload/error.h"

namespace transload::nn {

// The PTX of kernels.cu, embedded by the build (cmake/embed_text.cmake).
extern const char* const kKernelsPtx;

namespace {

const KernelEntry& find(std::string_view kernel) {
  const auto table = kernel_table();
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const KernelEntry& e) { return e.name == kernel; });
  assert(found != table.end());
  return *found;
}

}  // namespace

void launch(Device device, const char* kernel, std::int64_t threads, void** arguments,
            [[maybe_unused]] const std::uint32_t* sizes, [[maybe_unused]] int count) {
  const KernelEntry& entry = find(kernel);
  assert(count == entry.argument_count && std::equal(sizes, sizes + count, entry.argument_nbytes));
  switch (device.kind) {
    case DeviceKind::cpu:
      for (std::int64_t thread = 0; thread < threads; ++thread) entry.run(thread, arguments);
      return;
    case DeviceKind::cuda:
      launch_on_cuda(device, kKernelsPtx, kernel, static_cast<std::uint64_t>(threads), arguments);
      return;
    case DeviceKind::meta:
      throw Error(std::string(kernel) +
                  ": cannot compute on meta, where tensors have no bytes; move them with "
                  "to(tensor, device)");
  }
}

}  // namespace transload::nn
