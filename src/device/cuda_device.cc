// Contexts, pools and kernel launches of one GPU, by calls of the CUDA driver API.
#include "device/cuda_device.h"

#include <array>
#include <limits>

#include "transload/error.h"

namespace transload {
namespace {

constexpr std::uint64_t kBlockThreads = 256;
// 2^31 - 1: the maximum grid x dimension since compute capability 3.0 (CUDA C++ Programming Guide).
constexpr std::uint64_t kMaxBlocks = (1ull << 31) - 1;

// Runs `work` with the context current and ignores errors. For destructors, which cannot report
// them; on a lost device nothing is left to free.
template <class Work>
void quietly(const PrimaryContext& context, Work work) noexcept {
  try {
    const CurrentContext current(context);
    work(context.driver());
  } catch (const Error&) {
  }
}

std::string of_bytes(std::uint64_t nbytes) { return " of " + std::to_string(nbytes) + " bytes"; }

}  // namespace

PrimaryContext::PrimaryContext(const CudaDriver& driver, Device device)
    : driver_(driver), device_(device) {
  check(driver.cuDeviceGet(&number_, device.index), "cuDeviceGet");
  check(driver.cuDevicePrimaryCtxRetain(&handle_, number_), "cuDevicePrimaryCtxRetain");
}

PrimaryContext::~PrimaryContext() { driver_.cuDevicePrimaryCtxRelease(number_); }

CurrentContext::CurrentContext(const PrimaryContext& context) : context_(context) {
  context.check(context.driver().cuCtxPushCurrent(context.handle()), "cuCtxPushCurrent");
}

CurrentContext::~CurrentContext() {
  CUcontext popped;
  context_.driver().cuCtxPopCurrent(&popped);
}

CudaStream::CudaStream(const PrimaryContext& context, unsigned flags) : context_(context) {
  const CurrentContext current(context);
  context.check(context.driver().cuStreamCreate(&handle_, flags), "cuStreamCreate");
}

CudaStream::~CudaStream() {
  quietly(context_, [&](const CudaDriver& driver) {
    driver.cuStreamSynchronize(handle_);
    driver.cuStreamDestroy(handle_);
  });
}

void CudaStream::wait_for(CUstream other) {
  const CudaDriver& driver = context_.driver();
  const CurrentContext current(context_);
  CUevent event;
  context_.check(driver.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
  const CUresult recorded = driver.cuEventRecord(event, other);
  const CUresult waiting =
      recorded == CUDA_SUCCESS ? driver.cuStreamWaitEvent(handle_, event, 0) : recorded;
  // Allowed while the wait is pending: the driver frees the event when it completes
  // (cuEventDestroy).
  driver.cuEventDestroy(event);
  context_.check(recorded, "cuEventRecord");
  context_.check(waiting, "cuStreamWaitEvent");
}

void CudaStream::synchronize() const {
  const CurrentContext current(context_);
  context_.check(context_.driver().cuStreamSynchronize(handle_), "cuStreamSynchronize");
}

CudaPool::CudaPool(const PrimaryContext& context) : context_(context) {
  CUmemPoolProps properties{};
  properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, context.number()};
  context.check(context.driver().cuMemPoolCreate(&handle_, &properties), "cuMemPoolCreate");
}

CudaPool::~CudaPool() { context_.driver().cuMemPoolDestroy(handle_); }

std::uint64_t CudaPool::get(CUmemPool_attribute attribute) const {
  std::uint64_t value = 0;
  context_.check(context_.driver().cuMemPoolGetAttribute(handle_, attribute, &value),
                 "cuMemPoolGetAttribute");
  return value;
}

void CudaPool::set(CUmemPool_attribute attribute, std::uint64_t value) {
  context_.check(context_.driver().cuMemPoolSetAttribute(handle_, attribute, &value),
                 "cuMemPoolSetAttribute");
}

void CudaPool::trim() {
  context_.check(context_.driver().cuMemPoolTrimTo(handle_, 0), "cuMemPoolTrimTo");
}

// CU_STREAM_DEFAULT orders the stream with the legacy default stream, on which PyTorch works by
// default. Memory that a PyTorch tensor borrows from us is therefore not reused before PyTorch's
// kernels are done.
CudaDevice::CudaDevice(const CudaDriver& driver, Device device)
    : context_(driver, device), stream_(context_, CU_STREAM_DEFAULT), pool_(context_) {
  // The default threshold of 0 would return unused memory to the driver at every synchronization.
  pool_.set(CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, std::numeric_limits<std::uint64_t>::max());
  granularity_ = measure_granularity();
}

CudaDevice::~CudaDevice() {
  quietly(context_, [&](const CudaDriver& driver) {
    driver.cuStreamSynchronize(stream_.handle());
    for (const auto& [ptx, module] : modules_) driver.cuModuleUnload(module);
  });
}

// Returns by how many bytes an allocation of one byte raises USED_MEM_CURRENT, which the manual
// does not specify. Afterwards the pool is empty and its peaks are 0.
std::uint64_t CudaDevice::measure_granularity() {
  constexpr std::uint64_t kSeenOnAllDrivers = 512;
  const CudaDriver& driver = context_.driver();
  const CurrentContext current(context_);
  CUdeviceptr byte;
  const CUresult result =
      driver.cuMemAllocFromPoolAsync(&byte, 1, pool_.handle(), stream_.handle());
  if (result == CUDA_ERROR_OUT_OF_MEMORY)
    return kSeenOnAllDrivers;  // memory_use() must also work on a full device
  context_.check(result, "cuMemAllocFromPoolAsync", of_bytes(1));
  const std::uint64_t used = pool_.get(CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
  context_.check(driver.cuMemFreeAsync(byte, stream_.handle()), "cuMemFreeAsync");
  stream_.synchronize();
  pool_.trim();
  pool_.set(CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0);
  pool_.set(CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, 0);
  return used > 0 ? used : kSeenOnAllDrivers;
}

MemoryUse CudaDevice::memory_use() {
  const CudaDriver& driver = context_.driver();
  const CurrentContext current(context_);
  stream_.synchronize();  // so that queued frees count as free
  std::size_t free = 0, total = 0;
  context_.check(driver.cuMemGetInfo(&free, &total), "cuMemGetInfo");
  std::array<char, 256> name{};
  context_.check(
      driver.cuDeviceGetName(name.data(), static_cast<int>(name.size()), context_.number()),
      "cuDeviceGetName");
  MemoryUse use;
  use.device = context_.device();
  use.name = name.data();
  use.total = total;
  use.free = free;
  use.allocated = pool_.get(CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
  use.allocated_peak = pool_.get(CU_MEMPOOL_ATTR_USED_MEM_HIGH);
  use.reserved = pool_.get(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  use.reserved_peak = pool_.get(CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH);
  use.granularity = granularity_;
  // CUDA C++ Programming Guide: allocations of the driver are aligned to at least 256 bytes.
  use.alignment = 256;
  return use;
}

void CudaDevice::empty_cache() {
  const CurrentContext current(context_);
  stream_.synchronize();  // so that memory with a queued free is trimmed too
  pool_.trim();
}

CUdeviceptr CudaDevice::allocate(std::uint64_t nbytes) {
  const CudaDriver& driver = context_.driver();
  const CurrentContext current(context_);
  CUdeviceptr address = 0;
  CUresult result =
      driver.cuMemAllocFromPoolAsync(&address, nbytes, pool_.handle(), stream_.handle());
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    empty_cache();  // the pool may hold enough memory in pieces that are too small
    result = driver.cuMemAllocFromPoolAsync(&address, nbytes, pool_.handle(), stream_.handle());
  }
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    const MemoryUse use = memory_use();
    throw DeviceError(context_.device().str() + ": cannot allocate " + std::to_string(nbytes) +
                      " bytes: " + std::to_string(use.free) + " of " + std::to_string(use.total) +
                      " are free; this process has " + std::to_string(use.allocated) +
                      " allocated and " + std::to_string(use.reserved) + " reserved");
  }
  context_.check(result, "cuMemAllocFromPoolAsync", of_bytes(nbytes));
  const CUresult ready = driver.cuStreamSynchronize(stream_.handle());
  if (ready != CUDA_SUCCESS) driver.cuMemFreeAsync(address, stream_.handle());
  context_.check(ready, "cuStreamSynchronize", " after an allocation" + of_bytes(nbytes));
  return address;
}

void CudaDevice::free(CUdeviceptr address) noexcept {
  quietly(context_,
          [&](const CudaDriver& driver) { driver.cuMemFreeAsync(address, stream_.handle()); });
}

void* CudaDevice::allocate_host(std::uint64_t nbytes) {
  const CurrentContext current(context_);
  void* address = nullptr;
  context_.check(context_.driver().cuMemHostAlloc(&address, nbytes, CU_MEMHOSTALLOC_PORTABLE),
                 "cuMemHostAlloc", of_bytes(nbytes) + " of pinned host memory");
  return address;
}

void CudaDevice::free_host(void* address) noexcept {
  quietly(context_, [&](const CudaDriver& driver) { driver.cuMemFreeHost(address); });
}

CUfunction CudaDevice::function(const char* ptx, const char* kernel) {
  const CudaDriver& driver = context_.driver();
  const std::lock_guard lock(mutex_);
  CUmodule& module = modules_[ptx];
  if (!module) {
    const CUresult result = driver.cuModuleLoadData(&module, ptx);
    if (result != CUDA_SUCCESS) modules_.erase(ptx);
    context_.check(result, "cuModuleLoadData");
  }
  CUfunction& found = functions_[{module, kernel}];
  if (!found) {
    context_.check(driver.cuModuleGetFunction(&found, module, kernel), "cuModuleGetFunction",
                   " of \"" + std::string(kernel) + "\"");
  }
  return found;
}

void CudaDevice::launch(const char* ptx, const char* kernel, std::uint64_t threads,
                        void** arguments) {
  if (threads == 0) return;
  const std::uint64_t blocks = (threads - 1) / kBlockThreads + 1;
  if (blocks > kMaxBlocks) {
    throw DeviceError(context_.device().str() + ": kernel \"" + kernel + "\" needs " +
                      std::to_string(threads) + " threads, but one launch has at most " +
                      std::to_string(kMaxBlocks * kBlockThreads));
  }
  const CurrentContext current(context_);
  const CUresult result = context_.driver().cuLaunchKernel(
      function(ptx, kernel), static_cast<unsigned>(blocks), 1, 1, kBlockThreads, 1, 1, 0,
      stream_.handle(), arguments, nullptr);
  context_.check(result, "cuLaunchKernel", " of \"" + std::string(kernel) + "\"");
}

void CudaDevice::synchronize() { stream_.synchronize(); }

std::shared_ptr<CudaDevice> CudaDevices::use(Device device) {
  const CudaDriver& driver = require_cuda_driver(device);
  const std::lock_guard lock(mutex_);
  std::shared_ptr<CudaDevice>& used = used_[device];
  if (!used) used = std::make_shared<CudaDevice>(driver, device);
  return used;
}

std::shared_ptr<CudaDevice> CudaDevices::find(Device device) const {
  const std::lock_guard lock(mutex_);
  const auto found = used_.find(device);
  return found == used_.end() ? nullptr : found->second;
}

const CudaDriver& require_cuda_driver(Device device) {
  if (const CudaDriver* driver = cuda_driver()) return *driver;
  throw DeviceError(device.str() + ": no CUDA driver is available: " + why_no_cuda_driver());
}

}  // namespace transload
