// All that the emulated driver knows: devices, and what its callers have made on them.
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
  int holders = 0;                         // of the primary context
  CUresult broken = CUDA_SUCCESS;          // sticks: all later calls return it
  std::shared_ptr<Stream> default_stream;  // of the context, made when first used
  FakeCudaCounters counters{};

  // Faults. Counted down; 0: none.
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
  std::mutex mutex;  // of all but the pace. Never held while a stream is waited for.
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

  Gpu* owner(CUdeviceptr address);
  bool is_pinned(const void* address, std::uint64_t nbytes) const;

  // The stream behind a handle, on `current` for the default one. Null if there is none.
  std::shared_ptr<Stream> find_stream(CUstream handle, Gpu& current);
  // Adds work, ordered with the device's default stream as the driver orders it.
  Place enqueue(const std::shared_ptr<Stream>& stream, std::function<void()> work);
};

Machine& machine();

// The contexts that the calling thread has pushed.
std::vector<CUcontext>& context_stack();

// What a call that needs a context starts with: the machine, locked, and the current device, if it is well.
class Call {
 public:
  Call();
  Machine& machine;
  std::unique_lock<std::mutex> lock;
  Gpu* device = nullptr;
  CUresult error = CUDA_SUCCESS;
};

// Waits for the place with the machine unlocked, gives what the pools of the device keep beyond their threshold back,
// and returns how the device is then.
CUresult wait_for(Call& call, int device, const Place& place);

}  // namespace fake_cuda
