// Finds kernels by name, and translates the device addresses in their arguments.
#include "fake_kernels.h"

#include <cstring>

namespace fake_cuda {
namespace {

// The kernel of cuda_probe.cc: values (count) float32 += 1
void probe_add_one(std::int64_t thread, void** arguments) {
  float* const values = *static_cast<float**>(arguments[0]);
  const auto count = *static_cast<const std::uint32_t*>(arguments[1]);
  if (thread < count) values[thread] += 1;
}

constexpr std::uint32_t kProbeArguments[] = {8, 4};
const KernelEntry kProbeKernel{"transload_probe_add_one", probe_add_one, kProbeArguments, 2};

// No GPU maps memory below this address, so a kernel that accesses it fails.
constexpr std::uint64_t kNoMemoryBelow = 4096;

}  // namespace

const KernelEntry* find_kernel(std::string_view name) {
  if (name == kProbeKernel.name) return &kProbeKernel;
  for (const KernelEntry& entry : kernel_table()) {
    if (name == entry.name) return &entry;
  }
  return nullptr;
}

Arguments::Arguments(const KernelEntry& entry, void** values) : entry_(entry) {
  for (int i = 0; i < entry.argument_count; ++i) {
    const std::uint32_t nbytes = entry.argument_nbytes[i];
    words_.emplace_back((nbytes + 7) / 8);
    std::memcpy(words_.back().data(), values[i], nbytes);
  }
}

// Takes every 8-byte word that lies in the address range of a device for an address. No other
// argument is that large.
void** Arguments::resolve(Machine& machine, Gpu& device) {
  if (&entry_ == &kProbeKernel && words_[0][0] < kNoMemoryBelow) return nullptr;
  for (std::vector<std::uint64_t>& argument : words_) {
    for (std::uint64_t& word : argument) {
      if (!machine.owner(word)) continue;
      if (!device.memory.is_live(word, 0))
        return nullptr;  // including the memory of another device
      word = reinterpret_cast<std::uint64_t>(device.memory.bytes(word));
    }
    pointers_.push_back(argument.data());
  }
  return pointers_.data();
}

}  // namespace fake_cuda
