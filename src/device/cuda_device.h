// One GPU that this process uses: its primary context, shared with PyTorch and the CUDA runtime; a
// memory pool of our own; and the device's own stream, which orders allocations, frees and kernels.
// cuda.cc builds the backend on it, cuda_stream.h the copies.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "device/cuda_driver.h"
#include "transload/device.h"

namespace transload {

// A reference to the device's primary context (cuDevicePrimaryCtxRetain,
// cuDevicePrimaryCtxRelease). The driver creates the context for the first reference in the process
// and destroys it with the last.
class PrimaryContext {
 public:
  PrimaryContext(const CudaDriver& driver, Device device);
  ~PrimaryContext();
  PrimaryContext(const PrimaryContext&) = delete;
  PrimaryContext& operator=(const PrimaryContext&) = delete;

  CUcontext handle() const { return handle_; }
  const CudaDriver& driver() const { return driver_; }
  Device device() const { return device_; }
  CUdevice number() const { return number_; }

  // Throws DeviceError with this device and the driver's error text unless `result` is
  // CUDA_SUCCESS.
  void check(CUresult result, std::string_view call, std::string_view detail = {}) const {
    transload::check(driver_, result, device_, call, detail);
  }

 private:
  const CudaDriver& driver_;
  Device device_;
  CUdevice number_ = 0;
  CUcontext handle_ = nullptr;
};

// Makes the context current on the calling thread. The destructor restores the thread's previous
// context.
class CurrentContext {
 public:
  explicit CurrentContext(const PrimaryContext& context);
  ~CurrentContext();
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;

 private:
  const PrimaryContext& context_;
};

// An owned CUstream. The destructor blocks until the queued work is done.
class CudaStream {
 public:
  CudaStream(const PrimaryContext& context, unsigned flags);
  ~CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  CUstream handle() const { return handle_; }

  // Orders work queued here from now on after all work that is queued on `other` now. `other` is a
  // stream of the same context. Does not block.
  void wait_for(CUstream other);
  // Blocks until the queued work is done.
  void synchronize() const;

 private:
  const PrimaryContext& context_;
  CUstream handle_ = nullptr;
};

// An owned CUmemoryPool on one device. With the release threshold that CudaDevice sets, only trim()
// returns unused memory to the driver. The caller makes the context current.
class CudaPool {
 public:
  explicit CudaPool(const PrimaryContext& context);
  ~CudaPool();
  CudaPool(const CudaPool&) = delete;
  CudaPool& operator=(const CudaPool&) = delete;

  CUmemoryPool handle() const { return handle_; }
  std::uint64_t get(CUmemPool_attribute attribute) const;
  void set(CUmemPool_attribute attribute, std::uint64_t value);
  void trim();

 private:
  const PrimaryContext& context_;
  CUmemoryPool handle_ = nullptr;
};

// Any thread may call it. Storages and copy streams share its ownership, so it outlives them. Sizes
// are bytes; functions throw DeviceError if the driver fails, except those marked noexcept.
class CudaDevice {
 public:
  CudaDevice(const CudaDriver& driver, Device device);
  ~CudaDevice();

  const PrimaryContext& context() const { return context_; }
  const CudaStream& stream() const { return stream_; }

  // Blocks until queued frees are done, so that they count as free.
  MemoryUse memory_use();
  void empty_cache();

  // Returns memory that is usable on any stream. Blocks until the driver has allocated it. Throws
  // DeviceError with the requested and the free bytes if there is not enough.
  CUdeviceptr allocate(std::uint64_t nbytes);
  // Queues the free after the work on the device's own stream and returns at once.
  void free(CUdeviceptr address) noexcept;

  // Returns page-aligned pinned memory, which every GPU of the process copies from and to directly
  // (CU_MEMHOSTALLOC_PORTABLE).
  void* allocate_host(std::uint64_t nbytes);
  void free_host(void* address) noexcept;

  // See launch_on_cuda(). `ptx` is identified by its address and loaded once.
  void launch(const char* ptx, const char* kernel, std::uint64_t threads, void** arguments);
  // Blocks until the work on the device's own stream is done.
  void synchronize();

 private:
  std::uint64_t measure_granularity();
  CUfunction function(const char* ptx, const char* kernel);

  PrimaryContext context_;
  CudaStream stream_;
  CudaPool pool_;
  std::uint64_t granularity_;

  std::mutex mutex_;  // guards modules_ and functions_
  std::map<const char*, CUmodule> modules_;
  std::map<std::pair<CUmodule, std::string>, CUfunction> functions_;
};

// The devices that this process uses. The backend and its streams share it; any thread may call it.
class CudaDevices {
 public:
  // Returns the device. The first call for a device retains its context. Throws DeviceError.
  std::shared_ptr<CudaDevice> use(Device device);
  // Returns the device, or null if this process does not use it yet.
  std::shared_ptr<CudaDevice> find(Device device) const;

 private:
  mutable std::mutex mutex_;  // guards used_
  std::map<Device, std::shared_ptr<CudaDevice>> used_;
};

// Returns the driver. Throws DeviceError with the reason if there is none.
const CudaDriver& require_cuda_driver(Device device);

}  // namespace transload
