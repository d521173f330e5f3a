// The CUDA backend: storages, pinned staging memory and copy streams of the devices in
// cuda_device.h.
#include "device/cuda.h"

#include "device/cuda_device.h"
#include "device/cuda_stream.h"

namespace transload {
namespace {

// The owner of a storage's device memory. Its address is the storage's identity, also for 0 bytes.
struct DeviceMemory {
  std::shared_ptr<CudaDevice> device;
  CUdeviceptr address = 0;

  explicit DeviceMemory(std::shared_ptr<CudaDevice> on) : device(std::move(on)) {}
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() {
    if (address) device->free(address);
  }
};

// The owner of pinned host memory.
struct PinnedMemory {
  std::shared_ptr<CudaDevice> device;
  void* address = nullptr;

  explicit PinnedMemory(std::shared_ptr<CudaDevice> on) : device(std::move(on)) {}
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  ~PinnedMemory() {
    if (address) device->free_host(address);
  }
};

class CudaBackend final : public Backend {
 public:
  int device_count() const override {
    const CudaDriver* driver = cuda_driver();
    int count = 0;
    return driver && driver->cuDeviceGetCount(&count) == CUDA_SUCCESS ? count : 0;
  }

  MemoryUse memory_use(Device device) const override {
    if (const auto used = devices_->find(device)) return used->memory_use();
    // A temporary: this process does not use the device yet, so its context is released again.
    return CudaDevice(require_cuda_driver(device), device).memory_use();
  }

  Storage allocate(Device device, std::uint64_t nbytes) override {
    const auto memory = std::make_shared<DeviceMemory>(devices_->use(device));
    if (nbytes > 0) memory->address = memory->device->allocate(nbytes);
    return Storage(device, reinterpret_cast<std::byte*>(memory->address), nbytes, memory);
  }

  void empty_cache(Device device) override {
    if (const auto used = devices_->find(device)) used->empty_cache();
  }

  Storage allocate_staging(Device device, std::uint64_t nbytes) override {
    const auto memory = std::make_shared<PinnedMemory>(devices_->use(device));
    if (nbytes > 0) memory->address = memory->device->allocate_host(nbytes);
    return Storage(kCpu, static_cast<std::byte*>(memory->address), nbytes, memory);
  }

  std::unique_ptr<CopyStream> open_stream(Device device, std::uintptr_t after) override {
    return std::make_unique<CudaCopies>(devices_, device, after);
  }

  CudaDevices& devices() { return *devices_; }

 private:
  std::shared_ptr<CudaDevices> devices_ = std::make_shared<CudaDevices>();
};

CudaDevice& used_device(Device device) {
  // The reference stays valid: the backend is never destroyed and keeps the devices it uses.
  return *static_cast<CudaBackend&>(backend_for(DeviceKind::cuda)).devices().use(device);
}

}  // namespace

std::unique_ptr<Backend> make_cuda_backend() { return std::make_unique<CudaBackend>(); }

void launch_on_cuda(Device device, std::string_view ptx, const char* kernel, std::uint64_t threads,
                    void** arguments) {
  used_device(device).launch(ptx.data(), kernel, threads, arguments);
}

}  // namespace transload
