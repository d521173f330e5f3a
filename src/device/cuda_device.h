// One GPU that this process uses: its primary context, which PyTorch and the CUDA runtime share with us, a memory pool
// of our own, and the stream on which memory is allocated and freed and kernels run.
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

// Holds the device's primary context: the first holder in the process makes it, the last one's going destroys it.
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

  // Throws DeviceError that names this device, unless the call succeeded.
  void check(CUresult result, std::string_view call, std::string_view detail = {}) const {
    transload::check(driver_, result, device_, call, detail);
  }

 private:
  const CudaDriver& driver_;
  Device device_;
  CUdevice number_ = 0;
  CUcontext handle_ = nullptr;
};

// Makes the context the calling thread's while this lives, then gives the thread back the one it had.
class CurrentContext {
 public:
  explicit CurrentContext(const PrimaryContext& context);
  ~CurrentContext();
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;

 private:
  const PrimaryContext& context_;
};

// A stream of the driver. The destructor waits for what is queued.
class CudaStream {
 public:
  CudaStream(const PrimaryContext& context, unsigned flags);
  ~CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  CUstream handle() const { return handle_; }

  // What is queued here from now on starts after all that is queued on `other` now, a stream of the same context.
  void wait_for(CUstream other);
  void synchronize() const;

 private:
  const PrimaryContext& context_;
  CUstream handle_ = nullptr;
};

// Memory that the driver keeps for this process on one device. Only what trim() is told to leaves it.
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

// Safe to call from any thread. Storages and copy streams share it: it goes with the last of them.
class CudaDevice {
 public:
  CudaDevice(const CudaDriver& driver, Device device);
  ~CudaDevice();

  const PrimaryContext& context() const { return context_; }
  const CudaStream& stream() const { return stream_; }

  MemoryUse memory_use();
  void empty_cache();

  // Usable on any stream from now on. Throws DeviceError.
  CUdeviceptr allocate(std::uint64_t nbytes);
  void free(CUdeviceptr address) noexcept;

  // Pinned: page-aligned, and copied from and to by any GPU without a detour. Throws DeviceError.
  void* allocate_host(std::uint64_t nbytes);
  void free_host(void* address) noexcept;

  // `ptx` is a constant of the program, known by its address and loaded once. See launch_on_cuda().
  void launch(const char* ptx, const char* kernel, std::uint64_t threads, void** arguments);
  void synchronize();

 private:
  std::uint64_t measure_granularity();
  CUfunction function(const char* ptx, const char* kernel);

  PrimaryContext context_;
  CudaStream stream_;
  CudaPool pool_;
  std::uint64_t granularity_;

  std::mutex mutex_;  // of the two below
  std::map<const char*, CUmodule> modules_;
  std::map<std::pair<CUmodule, std::string>, CUfunction> functions_;
};

// The devices that this process uses, shared by the backend and its streams.
class CudaDevices {
 public:
  // Starts using the device at the first call. Throws DeviceError.
  std::shared_ptr<CudaDevice> use(Device device);
  // Null if it is not used yet.
  std::shared_ptr<CudaDevice> find(Device device) const;

 private:
  mutable std::mutex mutex_;
  std::map<Device, std::shared_ptr<CudaDevice>> used_;
};

// Throws DeviceError that says why if there is no driver.
const CudaDriver& require_cuda_driver(Device device);

}  // namespace transload
