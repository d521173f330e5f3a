// Entry points of the emulated driver: initialization, devices, contexts, streams, events and
// kernels. The entry points for memory are in fake_cuda_memory.cc. Their behavior follows the CUDA
// Driver API reference.
#include "fake_cuda.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "fake_kernels.h"
#include "fake_machine.h"

namespace fake_cuda {
namespace {

struct ErrorText {
  CUresult result;
  const char* name;
  const char* text;
};
constexpr ErrorText kErrors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_ECC_UNCORRECTABLE, "CUDA_ERROR_ECC_UNCORRECTABLE",
     "uncorrectable ECC error encountered"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS",
     "an illegal memory access was encountered"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
};

const ErrorText* find_error(CUresult result) {
  for (const ErrorText& error : kErrors) {
    if (error.result == result) return &error;
  }
  return nullptr;
}

// Returns a device by its number, or null if there is none. The caller holds the machine's mutex.
Gpu* find_device(Machine& all, CUdevice number) {
  const auto index = static_cast<std::size_t>(number);
  return number >= 0 && index < all.devices.size() ? all.devices[index].get() : nullptr;
}

}  // namespace
}  // namespace fake_cuda

using namespace fake_cuda;

#pragma GCC visibility push(default)
extern "C" {

CUresult cuInit(unsigned) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  if (all.devices.empty()) return CUDA_ERROR_NO_DEVICE;
  all.initialised = true;
  return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* version) {
  *version = 12000;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult result, const char** name) {
  const ErrorText* error = find_error(result);
  *name = error ? error->name : nullptr;
  return error ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult result, const char** text) {
  const ErrorText* error = find_error(result);
  *text = error ? error->text : nullptr;
  return error ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetCount(int* count) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  *count = static_cast<int>(all.devices.size());
  return all.initialised ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult cuDeviceGet(CUdevice* device, int index) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  if (!find_device(all, index)) return CUDA_ERROR_INVALID_DEVICE;
  *device = index;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int capacity, CUdevice) {
  std::snprintf(name, static_cast<std::size_t>(capacity), "emulated");
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice) {
  *value = attribute == CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING ||
           attribute == CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice number) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  Gpu* device = find_device(all, number);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (device->lost) return device->error();
  if (device->holders == 0) {
    if (device->memory.free(false) < kContextNbytes) return CUDA_ERROR_OUT_OF_MEMORY;
    ++device->counters.contexts_made;
    device->counters.contexts_alive = 1;
  }
  ++device->holders;
  *context = reinterpret_cast<CUcontext>(device);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice number) {
  Machine& all = machine();
  std::shared_ptr<Stream> ended;  // its destructor blocks, so it must run after the unlock
  const std::lock_guard lock(all.mutex);
  Gpu* device = find_device(all, number);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (device->holders == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (--device->holders == 0) {
    device->counters.contexts_alive = 0;
    device->broken = CUDA_SUCCESS;
    ended = std::move(device->default_stream);
  }
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice number, unsigned* flags, int* active) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  const Gpu* device = find_device(all, number);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  *flags = 0;
  *active = device->holders > 0;
  return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
  if (!context) return CUDA_ERROR_INVALID_CONTEXT;
  context_stack().push_back(context);
  return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext* context) {
  if (context_stack().empty()) return CUDA_ERROR_INVALID_CONTEXT;
  *context = context_stack().back();
  context_stack().pop_back();
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = context_stack().empty() ? nullptr : context_stack().back();
  return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream* handle, unsigned flags) {
  Call call;
  if (call.error) return call.error;
  const bool blocking = (flags & CU_STREAM_NON_BLOCKING) == 0;
  auto stream = std::make_shared<Stream>(call.machine.pace, call.device->number, blocking);
  *handle = reinterpret_cast<CUstream>(stream.get());
  call.machine.streams.emplace(*handle, std::move(stream));
  ++call.device->counters.streams_alive;
  return CUDA_SUCCESS;
}

// Works on a broken device too, so that everything can be destroyed.
CUresult cuStreamDestroy_v2(CUstream handle) {
  Machine& all = machine();
  std::shared_ptr<Stream> ended;  // its destructor blocks, so it must run after the unlock
  const std::lock_guard lock(all.mutex);
  const auto found = all.streams.find(handle);
  if (found == all.streams.end()) return CUDA_ERROR_INVALID_HANDLE;
  ended = std::move(found->second);
  all.streams.erase(found);
  --find_device(all, ended->device())->counters.streams_alive;
  return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream handle) {
  Call call;
  if (call.error) return call.error;
  const std::shared_ptr<Stream> stream = call.machine.find_stream(handle, *call.device);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  return wait_for(call, stream->device(), call.machine.enqueue(stream, [] {}));
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned) {
  Call call;
  if (call.error) return call.error;
  const std::shared_ptr<Stream> stream = call.machine.find_stream(handle, *call.device);
  const auto found = call.machine.events.find(event);
  if (!stream || found == call.machine.events.end()) return CUDA_ERROR_INVALID_HANDLE;
  call.machine.enqueue(stream, [place = found->second.place] { place.wait(); });
  return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent* event, unsigned) {
  Call call;
  if (call.error) return call.error;
  *event = reinterpret_cast<CUevent>(++call.machine.last_event);
  call.machine.events.emplace(*event, Event{call.device->number, {}});
  ++call.device->counters.events_alive;
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event) {
  Machine& all = machine();
  // May hold the last reference to a stream, whose destructor blocks, so it must be destroyed after
  // the unlock.
  Place place;
  const std::lock_guard lock(all.mutex);
  const auto found = all.events.find(event);
  if (found == all.events.end()) return CUDA_ERROR_INVALID_HANDLE;
  --find_device(all, found->second.device)->counters.events_alive;
  place = std::move(found->second.place);
  all.events.erase(found);
  return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream handle) {
  Place before;
  Call call;
  if (call.error) return call.error;
  const std::shared_ptr<Stream> stream = call.machine.find_stream(handle, *call.device);
  const auto found = call.machine.events.find(event);
  if (!stream || found == call.machine.events.end()) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->device() != found->second.device) return CUDA_ERROR_INVALID_HANDLE;
  before = std::exchange(found->second.place, call.machine.enqueue(stream, [] {}));
  return CUDA_SUCCESS;
}

CUresult cuEventQuery(CUevent event) {
  Call call;
  if (call.error) return call.error;
  const auto found = call.machine.events.find(event);
  if (found == call.machine.events.end()) return CUDA_ERROR_INVALID_HANDLE;
  return found->second.place.reached() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuEventSynchronize(CUevent event) {
  Place place;
  Call call;
  if (call.error) return call.error;
  const auto found = call.machine.events.find(event);
  if (found == call.machine.events.end()) return CUDA_ERROR_INVALID_HANDLE;
  place = found->second.place;
  return wait_for(call, found->second.device, place);
}

CUresult cuModuleLoadData(CUmodule* handle, const void* image) {
  Call call;
  if (call.error) return call.error;
  auto module = std::make_unique<Module>();
  module->device = call.device->number;
  module->ptx = static_cast<const char*>(image);
  if (module->ptx.find(".version") == std::string::npos) return CUDA_ERROR_INVALID_IMAGE;
  *handle = reinterpret_cast<CUmodule>(module.get());
  call.machine.modules.emplace(*handle, std::move(module));
  ++call.device->counters.modules_loaded;
  ++call.device->counters.modules_alive;
  return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule handle) {
  Machine& all = machine();
  const std::lock_guard lock(all.mutex);
  const auto found = all.modules.find(handle);
  if (found == all.modules.end()) return CUDA_ERROR_INVALID_HANDLE;
  --find_device(all, found->second->device)->counters.modules_alive;
  all.modules.erase(found);
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule handle, const char* name) {
  Call call;
  if (call.error) return call.error;
  const auto found = call.machine.modules.find(handle);
  if (found == call.machine.modules.end()) return CUDA_ERROR_INVALID_HANDLE;
  Module& module = *found->second;
  const KernelEntry* const entry = find_kernel(name);
  const bool in_image = module.ptx.find(".entry " + std::string(name) + "(") != std::string::npos;
  if (!entry || !in_image) return CUDA_ERROR_NOT_FOUND;
  std::unique_ptr<Kernel>& kernel = module.kernels[name];
  if (!kernel) kernel = std::make_unique<Kernel>(Kernel{module.device, entry});
  *function = reinterpret_cast<CUfunction>(kernel.get());
  return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned,
                        CUstream handle, void** values, void**) {
  Call call;
  if (call.error) return call.error;
  if (grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1) return CUDA_ERROR_NOT_SUPPORTED;
  if (grid_x == 0 || grid_x > 0x7fffffff || block_x == 0 || block_x > 1024)
    return CUDA_ERROR_INVALID_VALUE;
  const auto& kernel = *reinterpret_cast<const Kernel*>(function);
  const std::shared_ptr<Stream> stream = call.machine.find_stream(handle, *call.device);
  if (!stream || kernel.device != stream->device()) return CUDA_ERROR_INVALID_HANDLE;
  const auto arguments = std::make_shared<Arguments>(*kernel.entry, values);
  const std::int64_t threads = std::int64_t{grid_x} * block_x;
  call.machine.enqueue(stream, [&all = call.machine, device = call.device, entry = kernel.entry,
                                arguments, threads] {
    std::unique_lock lock(all.mutex);
    if (device->error()) return;
    void** const resolved = arguments->resolve(all, *device);
    if (!resolved) {
      device->broken = CUDA_ERROR_ILLEGAL_ADDRESS;
      return;
    }
    ++device->counters.launches;
    lock.unlock();
    for (std::int64_t thread = 0; thread < threads; ++thread) entry->run(thread, resolved);
  });
  return CUDA_SUCCESS;
}

}  // extern "C"
#pragma GCC visibility pop
