#include "fake_kernels.h"

#include <cstring>
#include <string>

namespace fake_cuda {
namespace {

// The kernel of cuda_probe.cc: values (count) float32, each one more than before.
void probe_add_one(std::int64_t thread, void** arguments) {
  float* const values = *static_cast<float**>(arguments[0]);
  const auto count = *static_cast<const std::uint32_t*>(arguments[1]);
  if (thread < count) values[thread] += 1;
}

constexpr std::uint32_t kProbeArguments[] = {8, 4};
constexpr KernelEntry kProbeKernel{"transload_probe_add_one", probe_add_one, kProbeArguments, 2};

// On a GPU these pages are never mapped, so a kernel that is given such an address for its memory fails. Here that can
// be told only of the kernel whose first argument is known to be an address.
bool is_bad_address(const void** arguments) { return reinterpret_cast<std::uintptr_t>(arguments[0]) < 4096; }

}  // namespace

const KernelEntry* find_kernel(std::string_view name) {
  if (name == kProbeKernel.name) return &kProbeKernel;
  for (const KernelEntry& entry : kernel_table()) {
    if (name == entry.name) return &entry;
  }
  return nullptr;
}

}  // namespace fake_cuda
