// Entry points of the emulated driver for memory and copies, and the control functions of
// fake_cuda.h.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "fake_cuda.h"
#include "fake_machine.h"
#include "types/checked.h"

namespace fake_cuda {
namespace {

constexpr int kPoisonPinned = 0xC7;

// Counts down to a requested fault. Returns true if it is due now.
bool is_due(std::uint64_t& fails_in) { return fails_in > 0 && --fails_in == 0; }

// Like is_due(), for faults that repeat.
bool allocation_is_to_fail(Gpu& device) {
  if (device.allocation_fails_in > 1) return --device.allocation_fails_in, false;
  if (device.allocation_fails_in == 0) return false;
  if (--device.allocation_failures == 0) device.allocation_fails_in = 0;
  return true;
}

// One end of a copy: a device address or a host address.
struct End {
  Gpu* device = nullptr;
  CUdeviceptr address = 0;
  std::byte* host = nullptr;
};

struct Copy {
  End target, source;
  std::uint64_t nbytes;
  bool pinned = true;  // whether the host memory of the copy, if any, is pinned
  // The source bytes at the time of the call; empty if the stream reads the source.
  std::vector<std::byte> staged = {};
  bool fails = false;
};

End on_host(const void* address) {
  return {nullptr, 0, static_cast<std::byte*>(const_cast<void*>(address))};
}

// Returns the host address of the bytes, or null if the memory is not valid for the copy.
std::byte* locate(Machine& all, const End& end, const Copy& copy) {
  if (end.device)
    return end.device->memory.is_live(end.address, copy.nbytes)
               ? end.device->memory.bytes(end.address)
               : nullptr;
  return !copy.pinned || all.is_pinned(end.host, copy.nbytes) ? end.host : nullptr;
}

// Adds the bytes of a copy to the counters of its devices.
void count(const Copy& copy) {
  Gpu* const to = copy.target.device;
  Gpu* const from = copy.source.device;
  if (to && from && to != from) {
    to->counters.peer_in += copy.nbytes;
    from->counters.peer_out += copy.nbytes;
  } else if (to && from) {
    to->counters.on_device += copy.nbytes;
  } else if (to) {
    to->counters.to_device += copy.nbytes;
  } else {
    from->counters.to_host += copy.nbytes;
  }
  if (!copy.pinned) (to ? to : from)->counters.unpinned += copy.nbytes;
}

// Executes a copy. Runs in the stream's thread.
void run(Machine& all, Gpu& device, const Copy& copy) {
  std::unique_lock lock(all.mutex);
  if (device.error()) return;
  std::byte* const to = locate(all, copy.target, copy);
  const std::byte* const from =
      copy.staged.empty() ? locate(all, copy.source, copy) : copy.staged.data();
  if (copy.fails || !to || !from) {
    device.broken = copy.fails ? CUDA_ERROR_ECC_UNCORRECTABLE : CUDA_ERROR_ILLEGAL_ADDRESS;
    return;
  }
  count(copy);
  lock.unlock();
  std::memmove(to, from, copy.nbytes);
}

// The common part of the copy functions. A copy from memory that is not pinned reads it before the
// call returns; a copy to such memory is done when the call returns (CUDA Driver API, "API
// synchronization behavior").
CUresult start(Call& call, Copy copy, CUstream handle) {
  if (call.error) return call.error;
  const std::shared_ptr<Stream> stream = call.machine.find_stream(handle, *call.device);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  Gpu& device = *call.machine.devices[static_cast<std::size_t>(stream->device())];
  if (device.error()) return device.error();
  if (copy.nbytes == 0) return CUDA_SUCCESS;
  for (const End* end : {&copy.target, &copy.source}) {
    if (end->host) copy.pinned = call.machine.is_pinned(end->host, copy.nbytes);
    if (!end->host && (!end->device || !end->device->memory.find(end->address, copy.nbytes)))
      return CUDA_ERROR_INVALID_VALUE;
  }
  ++device.counters.copies;
  if (is_due(device.copy_fails_in)) {
    if (device.copy_failure == fake_cuda_fails_at_once) return CUDA_ERROR_ECC_UNCORRECTABLE;
    copy.fails = true;
  }
  const bool waits = copy.target.host && !copy.pinned;
  if (copy.source.host && !copy.pinned)
    copy.staged.assign(copy.source.host, copy.source.host + copy.nbytes);
  const Place place = call.machine.enqueue(
      stream, [&all = call.machine, &device, copy = std::move(copy)] { run(all, device, copy); });
  return waits ? wait_for(call, stream->device(), place) : CUDA_SUCCESS;
}

}  // namespace
}  // namespace fake_cuda

using namespace fake_cuda;

#pragma GCC visibility push(default)
extern "C" {

CUresult cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
  Call call;
  if (call.error) return call.error;
  *free = call.device->memory.free(true);
  *total = call.device->memory.total();
  return CUDA_SUCCESS;
}

CUresult cuMemPoolCreate(CUmemoryPool* handle, const CUmemPoolProps* properties) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  const auto number = static_cast<std::size_t>(properties->location.id);
  if (properties->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
      properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE || number >= all.devices.size())
    return CUDA_ERROR_INVALID_VALUE;
  if (all.devices[number]->error()) return all.devices[number]->error();
  auto pool = std::make_shared<Pool>();
  pool->device = properties->location.id;
  *handle = reinterpret_cast<CUmemoryPool>(pool.get());
  all.pools.emplace(*handle, std::move(pool));
  ++all.devices[number]->counters.pools_alive;
  return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool handle) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  const auto found = all.pools.find(handle);
  if (found == all.pools.end()) return CUDA_ERROR_INVALID_VALUE;
  Pool& pool = *found->second;
  Gpu& device = *all.devices[static_cast<std::size_t>(pool.device)];
  pool.destroyed = true;
  device.memory.trim(pool, 0);
  --device.counters.pools_alive;
  all.pools.erase(found);
  return CUDA_SUCCESS;
}

// The *_HIGH attributes accept only 0, which resets them to the current values.
CUresult cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  const auto found = all.pools.find(handle);
  if (found == all.pools.end()) return CUDA_ERROR_INVALID_VALUE;
  Pool& pool = *found->second;
  const std::uint64_t number = *static_cast<const std::uint64_t*>(value);
  if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) {
    pool.release_threshold = number;
  } else if (attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH && number == 0) {
    pool.used_high = pool.used;
  } else if (attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH && number == 0) {
    pool.reserved_high = pool.reserved;
  } else {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  const auto found = all.pools.find(handle);
  if (found == all.pools.end()) return CUDA_ERROR_INVALID_VALUE;
  const Pool& pool = *found->second;
  auto& number = *static_cast<std::uint64_t*>(value);
  switch (attribute) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      number = pool.release_threshold;
      break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
      number = pool.reserved;
      break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
      number = pool.reserved_high;
      break;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
      number = pool.used;
      break;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      number = pool.used_high;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool handle, std::size_t nbytes_to_keep) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  const auto found = all.pools.find(handle);
  if (found == all.pools.end()) return CUDA_ERROR_INVALID_VALUE;
  all.devices[static_cast<std::size_t>(found->second->device)]->memory.trim(*found->second,
                                                                            nbytes_to_keep);
  return CUDA_SUCCESS;
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* address, std::size_t nbytes, CUmemoryPool handle,
                                 CUstream stream_handle) {
  Call call;
  if (call.error) return call.error;
  const std::shared_ptr<Stream> stream = call.machine.find_stream(stream_handle, *call.device);
  const auto found = call.machine.pools.find(handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (found == call.machine.pools.end() || nbytes == 0) return CUDA_ERROR_INVALID_VALUE;
  Gpu& device = *call.machine.devices[static_cast<std::size_t>(found->second->device)];
  if (allocation_is_to_fail(device)) return CUDA_ERROR_OUT_OF_MEMORY;
  const auto allocated = device.memory.allocate(found->second, nbytes, device.holders > 0);
  if (!allocated) return CUDA_ERROR_OUT_OF_MEMORY;
  *address = *allocated;
  ++device.counters.allocations;
  ++device.counters.allocations_alive;
  call.machine.enqueue(stream, [&all = call.machine, &device, begun = *allocated] {
    const std::lock_guard lock(all.mutex);
    device.memory.begin(begun);
  });
  return CUDA_SUCCESS;
}

// Works on a broken device too, so that the remaining allocations at the end of a test are leaks.
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
  Call call;
  if (!call.device) return call.error;
  const std::shared_ptr<Stream> stream = call.machine.find_stream(handle, *call.device);
  Gpu* const device = call.machine.owner(address);
  Allocation* const allocation = device ? device->memory.find(address, 1) : nullptr;
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (!allocation || allocation->freed) return CUDA_ERROR_INVALID_VALUE;
  allocation->freed = true;
  call.machine.enqueue(stream, [&all = call.machine, device, address] {
    const std::lock_guard lock(all.mutex);
    device->memory.end(address);
    --device->counters.allocations_alive;
  });
  return call.error;
}

CUresult cuMemHostAlloc(void** address, std::size_t nbytes, unsigned) {
  Call call;
  if (call.error) return call.error;
  if (nbytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (is_due(call.machine.host_allocation_fails_in)) return CUDA_ERROR_OUT_OF_MEMORY;
  void* const pages =
      mmap(nullptr, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  std::memset(pages, kPoisonPinned, nbytes);
  call.machine.pinned.emplace(static_cast<std::byte*>(pages), nbytes);
  *address = pages;
  return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void* address) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  const auto found = all.pinned.find(static_cast<const std::byte*>(address));
  if (found == all.pinned.end()) return CUDA_ERROR_INVALID_VALUE;
  munmap(address, found->second);
  all.pinned.erase(found);
  return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr target, const void* source, std::size_t nbytes,
                              CUstream stream) {
  Call call;
  return start(call, {{call.machine.owner(target), target}, on_host(source), nbytes}, stream);
}

CUresult cuMemcpyDtoHAsync_v2(void* target, CUdeviceptr source, std::size_t nbytes,
                              CUstream stream) {
  Call call;
  return start(call, {on_host(target), {call.machine.owner(source), source}, nbytes}, stream);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr target, CUdeviceptr source, std::size_t nbytes,
                              CUstream stream) {
  Call call;
  Gpu* const from = call.machine.owner(source);
  Gpu* const to = call.machine.owner(target);
  if (!call.error && from != to)
    return CUDA_ERROR_INVALID_VALUE;  // copies between devices must use cuMemcpyPeerAsync
  return start(call, {{to, target}, {from, source}, nbytes}, stream);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr target, CUcontext target_context, CUdeviceptr source,
                           CUcontext source_context, std::size_t nbytes, CUstream stream) {
  Call call;
  Gpu* const from = call.machine.owner(source);
  Gpu* const to = call.machine.owner(target);
  if (!call.error && (reinterpret_cast<CUcontext>(to) != target_context ||
                      reinterpret_cast<CUcontext>(from) != source_context))
    return CUDA_ERROR_INVALID_VALUE;
  return start(call, {{to, target}, {from, source}, nbytes}, stream);
}

int fake_cuda_configure(int devices, std::uint64_t total_nbytes) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  for (const auto& device : all.devices) {
    if (device->holders > 0) return 0;
  }
  all.configure(devices, total_nbytes);
  return 1;
}

void fake_cuda_reset(void) {
  Machine& all = machine();
  all.pace.reset();
  const std::lock_guard lock(all.mutex);
  all.host_allocation_fails_in = 0;
  for (const auto& device : all.devices) {
    const FakeCudaCounters& now = device->counters;
    FakeCudaCounters fresh{};
    fresh.allocations_alive = now.allocations_alive;
    fresh.contexts_alive = now.contexts_alive;
    fresh.pools_alive = now.pools_alive;
    fresh.streams_alive = now.streams_alive;
    fresh.events_alive = now.events_alive;
    fresh.modules_alive = now.modules_alive;
    device->counters = fresh;
    device->broken = CUDA_SUCCESS;
    device->lost = false;
    device->allocation_fails_in = device->allocation_failures = device->copy_fails_in = 0;
  }
}

void fake_cuda_counters(int device, FakeCudaCounters* counters) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  *counters = all.devices.at(static_cast<std::size_t>(device))->counters;
}

std::uint64_t fake_cuda_pinned_nbytes(void) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  std::uint64_t nbytes = 0;
  for (const auto& [address, length] : all.pinned) nbytes += length;
  return nbytes;
}

void fake_cuda_delay(std::uint64_t microseconds) { machine().pace.set_delay(microseconds); }
void fake_cuda_hold(void) { machine().pace.hold(); }
void fake_cuda_let_go(void) { machine().pace.let_go(); }

void fake_cuda_fail_allocation(int device, std::uint64_t number, std::uint64_t times) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  Gpu& failing = *all.devices.at(static_cast<std::size_t>(device));
  failing.allocation_fails_in = times > 0 ? number : 0;
  failing.allocation_failures = times;
}

void fake_cuda_fail_host_allocation(std::uint64_t number) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  all.host_allocation_fails_in = number;
}

void fake_cuda_fail_copy(int device, std::uint64_t number, FakeCudaFailure when) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  Gpu& failing = *all.devices.at(static_cast<std::size_t>(device));
  failing.copy_fails_in = number;
  failing.copy_failure = when;
}

void fake_cuda_lose_device(int device) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  all.devices.at(static_cast<std::size_t>(device))->lost = true;
}

}  // extern "C"
#pragma GCC visibility pop
