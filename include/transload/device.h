// Where bytes live. A Device is a value: no handle, no context, nothing to open or close.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace transload {

enum class DeviceKind : std::uint8_t { cpu, meta, cuda };

// cpu: host memory. meta: shapes without bytes. cuda: GPU number `index`, as the driver counts them.
struct Device {
  DeviceKind kind = DeviceKind::cpu;
  std::int16_t index = 0;  // 0 for cpu and meta

  // "cpu", "meta", "cuda" (which is cuda:0) or "cuda:N". Empty for any other text, "cpu:0" included,
  // as torch has it.
  static std::optional<Device> parse(std::string_view text);

  // "cpu", "meta", "cuda:1"
  std::string str() const;

  auto operator<=>(const Device&) const = default;
};

inline constexpr Device kCpu{DeviceKind::cpu, 0};
inline constexpr Device kMeta{DeviceKind::meta, 0};
inline constexpr Device cuda(int index = 0) {
  return {DeviceKind::cuda, static_cast<std::int16_t>(index)};
}

// The memory of one device at one moment, in bytes.
struct MemoryUse {
  Device device;
  std::string name;  // as the driver names it; the emulated driver's devices say "emulated"
  std::uint64_t total = 0;
  // What the driver could still hand out; total - free is what nvidia-smi shows.
  std::uint64_t free = 0;
  // In live storages of this process, rounded as the device's pool rounds.
  std::uint64_t allocated = 0;
  std::uint64_t allocated_peak = 0;
  std::uint64_t reserved = 0;  // held by this process's pool, live or kept for reuse
  std::uint64_t reserved_peak = 0;
  // An allocation takes a multiple of this many bytes of `allocated`.
  std::uint64_t granularity = 1;
  // An allocation starts at a multiple of this many bytes, and so does each storage inside one.
  std::uint64_t alignment = 1;
};

// "404 bytes", "1.50 MB": powers of 1000, three digits.
std::string human_bytes(std::uint64_t nbytes);

// Every device that is here: cpu, meta, then the GPUs. Makes no context.
std::vector<Device> devices();

// Throws PlacementError if the device is not here. On a GPU that this process does not use yet it
// makes a context, asks, and gives the context back.
MemoryUse memory_use(Device device);

// Gives the memory that the device's pool keeps for reuse back to the driver. Nothing happens for
// cpu, meta and devices that this process has not used.
void empty_cache(Device device);

// Takes the CUDA driver from this shared library instead of the system's libcuda.so.1. To be called
// before anything asks for a GPU: throws Error if a driver is loaded already, DeviceError if the
// library is no driver.
void use_cuda_driver(const std::filesystem::path& library);

}  // namespace transload
