// The state behind the entry points: lookup of handles, the order of streams, and the start of
// every call.
#include "fake_machine.h"

#include "fake_kernels.h"

namespace fake_cuda {

Module::~Module() = default;

Machine::Machine() { configure(2, 1ull << 30); }

void Machine::configure(int count, std::uint64_t total_nbytes) {
  devices.clear();
  for (int i = 0; i < count; ++i) devices.push_back(std::make_unique<Gpu>(i, total_nbytes));
}

Machine& machine() {
  // Never destroyed, because the program may call the driver while its statics are destroyed.
  static Machine* const the = new Machine;
  return *the;
}

std::vector<CUcontext>& context_stack() {
  static thread_local std::vector<CUcontext> stack;
  return stack;
}

Gpu* Machine::owner(CUdeviceptr address) {
  for (const auto& device : devices) {
    if (device->memory.owns(address)) return device.get();
  }
  return nullptr;
}

bool Machine::is_pinned(const void* address, std::uint64_t nbytes) const {
  const auto* const begin = static_cast<const std::byte*>(address);
  const auto after = pinned.upper_bound(begin);
  if (after == pinned.begin()) return false;
  const auto& [start, length] = *std::prev(after);
  const auto offset = static_cast<std::uint64_t>(begin - start);
  return offset <= length && nbytes <= length - offset;
}

std::shared_ptr<Stream> Machine::find_stream(CUstream handle, Gpu& current) {
  constexpr std::uintptr_t kLegacy = 1;  // CU_STREAM_LEGACY
  if (reinterpret_cast<std::uintptr_t>(handle) <= kLegacy) {
    if (!current.default_stream)
      current.default_stream = std::make_shared<Stream>(pace, current.number, true);
    return current.default_stream;
  }
  const auto found = streams.find(handle);
  return found == streams.end() ? nullptr : found->second;
}

Place Machine::enqueue(const std::shared_ptr<Stream>& stream, std::function<void()> work) {
  std::vector<Place> before;
  const auto& default_stream = devices[static_cast<std::size_t>(stream->device())]->default_stream;
  if (stream == default_stream) {
    for (const auto& [handle, other] : streams) {
      if (other->device() == stream->device() && other->blocking())
        before.push_back({other, other->last()});
    }
  } else if (stream->blocking() && default_stream) {
    before.push_back({default_stream, default_stream->last()});
  }
  const std::uint64_t number = stream->enqueue([before, work = std::move(work)] {
    for (const Place& place : before) place.wait();
    work();
  });
  return {stream, number};
}

Call::Call() : machine(fake_cuda::machine()), lock(machine.mutex) {
  if (!machine.initialised) {
    error = CUDA_ERROR_NOT_INITIALIZED;
  } else if (context_stack().empty() || !context_stack().back()) {
    error = CUDA_ERROR_INVALID_CONTEXT;
  } else {
    device = reinterpret_cast<Gpu*>(context_stack().back());
    error = device->error();
  }
}

CUresult wait_for(Call& call, int device, const Place& place) {
  call.lock.unlock();
  place.wait();
  call.lock.lock();
  Gpu& waited = *call.machine.devices[static_cast<std::size_t>(device)];
  for (const auto& [handle, pool] : call.machine.pools) {
    if (pool->device == device) waited.memory.trim(*pool, pool->release_threshold);
  }
  return waited.error();
}

}  // namespace fake_cuda
