// The state of the emulated driver: its devices, and the contexts, streams, events, pools and
// modules on them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "device/cuda_driver.h"
#include "fake_cuda.h"
#include "fake_memory.h"
#include "fake_stream.h"

namespace fake_cuda {

using namespace transload;  // the driver's types

struct Gpu {
  Gpu(int device_number, std::uint64_t total_nbytes)
      : number(device_number), memory(total_nbytes) {}

  const int number;
  Memory memory;
  int holders = 0;                         // references to the primary context
  CUresult broken = CUDA_SUCCESS;          // a sticky error: all later calls return it
  std::shared_ptr<Stream> default_stream;  // the context's, created when first used
  FakeCudaCounters counters{};

  // Requested faults. The counters count down; 0 means no fault.
  bool lost = false;
  std::uint64_t allocation_fails_in = 0, allocation_failures = 0;
  std::uint64_t copy_fails_in = 0;
  FakeCudaFailure copy_failure = fake_cuda_fails_at_once;

  CUresult error() const { return lost ? CUDA_ERROR_ECC_UNCORRECTABLE : broken; }
};

struct Event {
  int device;
  Place place;
};

struct Kernel;  // fake_kernels.h

struct Module {
  int device;
  std::string ptx;
  std::map<std::string, std::unique_ptr<Kernel>> kernels;
  ~Module();
};

struct Machine {
  std::mutex mutex;  // guards everything but `pace`; never held while waiting for a stream
  bool initialised = false;
  std::vector<std::unique_ptr<Gpu>> devices;
  std::map<CUstream, std::shared_ptr<Stream>> streams;
  std::map<CUevent, Event> events;
  std::uintptr_t last_event = 0;
  std::map<CUmemoryPool, std::shared_ptr<Pool>> pools;
  std::map<CUmodule, std::unique_ptr<Module>> modules;
  std::map<const std::byte*, std::uint64_t> pinned;
  std::uint64_t host_allocation_fails_in = 0;
  Pace pace;

  Machine();
  void configure(int count, std::uint64_t total_nbytes);

  // Returns the device whose address range contains the address, or null.
  Gpu* owner(CUdeviceptr address);
  bool is_pinned(const void* address, std::uint64_t nbytes) const;

  // Returns the stream of a handle, or null if there is none. The default stream's handle (null or
  // 1) stands for the default stream of `current`.
  std::shared_ptr<Stream> find_stream(CUstream handle, Gpu& current);
  // Queues work and returns its place. Orders blocking streams with the device's default stream, as
  // the driver does.
  Place enqueue(const std::shared_ptr<Stream>& stream, std::function<void()> work);
};

Machine& machine();

// Returns the context stack of the calling thread.
std::vector<CUcontext>& context_stack();

// The start of every entry point that needs a context: locks the machine and finds the current
// device. `error` is set if there is no context or the device is broken.
class Call {
 public:
  Call();
  Machine& machine;
  std::unique_lock<std::mutex> lock;
  Gpu* device = nullptr;
  CUresult error = CUDA_SUCCESS;
};

// Waits for the place with the machine unlocked, then trims the device's pools to their release
// thresholds. Returns the device's error.
CUresult wait_for(Call& call, int device, const Place& place);

}  // namespace fake_cuda
