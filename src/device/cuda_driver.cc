#include "device/cuda_driver.h"

#include <dlfcn.h>

#include <mutex>
#include <optional>

#include "transload/error.h"

namespace transload {
namespace {

// What this process has chosen. Made by the first who asks.
struct Choice {
  std::mutex mutex;
  bool made = false;
  std::string library = "libcuda.so.1";
  std::optional<CudaDriver> driver;
  std::string why_none;
};

Choice& choice() {
  // Never destroyed: storages may outlive main().
  static Choice* const the = new Choice;
  return *the;
}

std::string dynamic_linker_error() {
  const char* text = dlerror();
  return text ? text : "unknown error of the dynamic linker";
}

// Finds functions, and remembers the first that is not there.
class Finder {
 public:
  explicit Finder(void* library) : library_(library) {}

  template <class Function>
  void find(const char* symbol, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(library_, symbol));
    if (!function && missing_.empty()) missing_ = symbol;
  }

  const std::string& missing() const { return missing_; }

 private:
  void* library_;
  std::string missing_;
};

// The newest of them, cuMemAllocFromPoolAsync, came with CUDA 11.2. Returns what is missing; empty: all is there.
std::string find_all(void* library, CudaDriver& driver) {
  Finder in(library);
  in.find("cuInit", driver.cuInit);
  in.find("cuDriverGetVersion", driver.cuDriverGetVersion);
  in.find("cuGetErrorName", driver.cuGetErrorName);
  in.find("cuGetErrorString", driver.cuGetErrorString);
  in.find("cuDeviceGetCount", driver.cuDeviceGetCount);
  in.find("cuDeviceGet", driver.cuDeviceGet);
  in.find("cuDeviceGetName", driver.cuDeviceGetName);
  in.find("cuDeviceGetAttribute", driver.cuDeviceGetAttribute);
  in.find("cuDevicePrimaryCtxRetain", driver.cuDevicePrimaryCtxRetain);
  in.find("cuDevicePrimaryCtxRelease_v2", driver.cuDevicePrimaryCtxRelease);
  in.find("cuDevicePrimaryCtxGetState", driver.cuDevicePrimaryCtxGetState);
  in.find("cuCtxPushCurrent_v2", driver.cuCtxPushCurrent);
  in.find("cuCtxPopCurrent_v2", driver.cuCtxPopCurrent);
  in.find("cuCtxGetCurrent", driver.cuCtxGetCurrent);
  in.find("cuMemGetInfo_v2", driver.cuMemGetInfo);
  in.find("cuMemPoolCreate", driver.cuMemPoolCreate);
  in.find("cuMemPoolDestroy", driver.cuMemPoolDestroy);
  in.find("cuMemPoolSetAttribute", driver.cuMemPoolSetAttribute);
  in.find("cuMemPoolGetAttribute", driver.cuMemPoolGetAttribute);
  in.find("cuMemPoolTrimTo", driver.cuMemPoolTrimTo);
  in.find("cuMemAllocFromPoolAsync", driver.cuMemAllocFromPoolAsync);
  in.find("cuMemFreeAsync", driver.cuMemFreeAsync);
  in.find("cuMemHostAlloc", driver.cuMemHostAlloc);
  in.find("cuMemFreeHost", driver.cuMemFreeHost);
  in.find("cuMemcpyHtoDAsync_v2", driver.cuMemcpyHtoDAsync);
  in.find("cuMemcpyDtoHAsync_v2", driver.cuMemcpyDtoHAsync);
  in.find("cuMemcpyDtoDAsync_v2", driver.cuMemcpyDtoDAsync);
  in.find("cuMemcpyPeerAsync", driver.cuMemcpyPeerAsync);
  in.find("cuStreamCreate", driver.cuStreamCreate);
  in.find("cuStreamDestroy_v2", driver.cuStreamDestroy);
  in.find("cuStreamSynchronize", driver.cuStreamSynchronize);
  in.find("cuStreamWaitEvent", driver.cuStreamWaitEvent);
  in.find("cuEventCreate", driver.cuEventCreate);
  in.find("cuEventDestroy_v2", driver.cuEventDestroy);
  in.find("cuEventRecord", driver.cuEventRecord);
  in.find("cuEventQuery", driver.cuEventQuery);
  in.find("cuEventSynchronize", driver.cuEventSynchronize);
  in.find("cuModuleLoadData", driver.cuModuleLoadData);
  in.find("cuModuleUnload", driver.cuModuleUnload);
  in.find("cuModuleGetFunction", driver.cuModuleGetFunction);
  in.find("cuLaunchKernel", driver.cuLaunchKernel);
  return in.missing();
}

// Sets the driver, or why there is none, from the library chosen.
void load(Choice& chosen) {
  chosen.why_none.clear();
  void* library = dlopen(chosen.library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    chosen.why_none = dynamic_linker_error();
    return;
  }
  CudaDriver driver{};
  if (const std::string missing = find_all(library, driver); !missing.empty()) {
    chosen.why_none = chosen.library + " has no " + missing + "; drivers have it from CUDA 11.2 on";
    return;
  }
  if (const CUresult result = driver.cuInit(0); result != CUDA_SUCCESS) {
    chosen.why_none = chosen.library + ": cuInit failed: " + error_text(driver, result);
    return;
  }
  chosen.driver = driver;
}

}  // namespace

const CudaDriver* cuda_driver() {
  Choice& chosen = choice();
  const std::lock_guard lock(chosen.mutex);
  if (!chosen.made) {
    chosen.made = true;
    load(chosen);
  }
  return chosen.driver ? &*chosen.driver : nullptr;
}

std::string why_no_cuda_driver() {
  cuda_driver();
  const std::lock_guard lock(choice().mutex);
  return choice().why_none;
}

void use_cuda_driver(const std::filesystem::path& library) {
  void* const opened = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!opened) throw DeviceError("no CUDA driver: " + dynamic_linker_error());
  CudaDriver driver{};
  if (const std::string missing = find_all(opened, driver); !missing.empty())
    throw DeviceError(library.string() + " is no CUDA driver of 11.2 or later: it has no " +
                      missing);

  Choice& chosen = choice();
  const std::lock_guard lock(chosen.mutex);
  if (chosen.driver) {
    throw Error("the CUDA driver cannot be changed to " + library.string() +
                ": this process uses " + chosen.library +
                "; use_cuda_driver() comes before anything that asks for a GPU");
  }
  chosen.library = library.string();
  chosen.made = true;
  load(chosen);
}

std::string error_text(const CudaDriver& driver, CUresult result) {
  const char* name = nullptr;
  const char* text = nullptr;
  if (driver.cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
    return "error " + std::to_string(result);
  if (driver.cuGetErrorString(result, &text) != CUDA_SUCCESS || !text) return name;
  return std::string(name) + " (" + text + ")";
}

void check(const CudaDriver& driver, CUresult result, Device device, std::string_view call,
           std::string_view detail) {
  if (result == CUDA_SUCCESS) return;
  throw DeviceError(device.str() + ": " + std::string(call) + std::string(detail) +
                    " failed: " + error_text(driver, result));
}

}  // namespace transload
