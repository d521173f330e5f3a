// Device: the place where bytes live. It is a plain value without a handle or context, so there is
// nothing to open or close. This header also reports and trims the memory of devices.
//
//   for (transload::Device device : transload::devices()) {
//     transload::MemoryUse use = transload::memory_use(device);
//     std::cout << device.str() << ": " << transload::human_bytes(use.free) << " free\n";
//   }
//
// All functions may be called from any thread.
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

// cpu: host memory. meta: shapes without bytes, as in torch. cuda: the GPU that the CUDA driver
// counts as number `index`; CUDA_VISIBLE_DEVICES applies.
struct Device {
  DeviceKind kind = DeviceKind::cpu;
  std::int16_t index = 0;  // always 0 for cpu and meta

  // Parses "cpu", "meta", "cuda" (the same as "cuda:0") or "cuda:N". Returns nullopt for any other
  // text, including "cpu:0" and "cuda:01". Does not check that the device is present.
  static std::optional<Device> parse(std::string_view text);

  // Returns the text that parse() accepts: "cpu", "meta", "cuda:1".
  std::string str() const;

  auto operator<=>(const Device&) const = default;
};

inline constexpr Device kCpu{DeviceKind::cpu, 0};
inline constexpr Device kMeta{DeviceKind::meta, 0};
inline constexpr Device cuda(int index = 0) {
  return {DeviceKind::cuda, static_cast<std::int16_t>(index)};
}

// A snapshot of the memory of one device. All numbers are bytes.
struct MemoryUse {
  Device device;
  std::string name;  // the driver's name for the device; "emulated" on the emulated driver
  std::uint64_t total = 0;
  // Bytes that this process can still allocate. nvidia-smi shows total - free as used. On the CPU
  // these are MemTotal and MemAvailable of /proc/meminfo, or what the tightest limit leaves: of a
  // control group (version 1 or 2, up to the root), RLIMIT_AS or RLIMIT_DATA.
  std::uint64_t free = 0;
  // The limit that decides `free`: "memory.max of /sys/fs/cgroup/job (2.00 GB)". Empty if what the
  // device has does.
  std::string limit{};
  // Bytes in the live storages of this process, each rounded up to `granularity`.
  std::uint64_t allocated = 0;
  std::uint64_t allocated_peak = 0;
  // Bytes that this process's memory pool holds: the allocated ones and those it keeps for reuse.
  std::uint64_t reserved = 0;
  std::uint64_t reserved_peak = 0;
  // `allocated` grows in multiples of this.
  std::uint64_t granularity = 1;
  // Every allocation, and every storage inside one, starts at a multiple of this.
  std::uint64_t alignment = 1;
};

// Formats a size for people with three digits and powers of 1000: "404 bytes", "1.50 MB".
std::string human_bytes(std::uint64_t nbytes);

// Returns the devices of this machine: cpu, meta, then the GPUs. The first call loads the CUDA
// driver, but no context is created.
std::vector<Device> devices();

// Returns whether PyTorch has devices of this name, whether or not transload supports them:
// "cuda:3", "mps", "xpu:0". A file's location tags are such names, unless a program wrote its own.
bool is_torch_device(std::string_view text);

// As Device::parse(). Throws PlacementError for any other text. The error says whether that is a
// device that is not supported, or the name that was probably meant, and which devices are here.
Device device_named(std::string_view text);

// Returns the memory use of a device. Waits for the work that this process has queued on the
// device's own stream. Creates and releases a context if this process does not use the GPU yet,
// which can take some tenths of a second. Throws PlacementError if the device is not present,
// DeviceError if the driver fails.
MemoryUse memory_use(Device device);

// Returns the memory that the device's pool keeps for reuse to the driver. Blocks until queued
// frees are done. Does nothing for cpu, for meta and for a GPU that this process does not use yet.
// Throws PlacementError if the device is not present, DeviceError if the driver fails.
void empty_cache(Device device);

// Loads the CUDA driver from this shared library instead of the system's libcuda.so.1. Call it
// before any function that asks for a GPU. Throws Error if a driver is already in use, DeviceError
// if the library cannot be opened or is not a CUDA driver of version 11.2 or later.
void use_cuda_driver(const std::filesystem::path& library);

}  // namespace transload
