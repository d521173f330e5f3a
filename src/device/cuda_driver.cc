// Loads the CUDA driver with dlopen and fills the table of its functions.
#include "device/cuda_driver.h"

#include <dlfcn.h>

#include <mutex>
#include <optional>

#include "transload/error.h"

namespace transload {
namespace {

// The driver of this process. `made` becomes true when the library has been loaded or has failed to
// load.
struct Choice {
  std::mutex mutex;  // guards all members
  bool made = false;
  std::string library = "libcuda.so.1";
  std::optional<CudaDriver> driver;
  std::string why_none;
};

Choice& choice() {
  // Never destroyed, because storages may outlive main().
  static Choice* const the = new Choice;
  return *the;
}

std::string dynamic_linker_error() {
  const char* text = dlerror();
  return text ? text : "unknown error of the dynamic linker";
}

// Looks up functions in a shared library and records the first missing one.
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

// Fills the table. Returns the name of the first missing function, or "" if all are present. The
// newest one, cuMemAllocFromPoolAsync, was added in CUDA 11.2.
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

// Loads the chosen library and sets either `driver` or `why_none`. The caller holds the mutex.
void load(Choice& chosen) {
  chosen.why_none.clear();
  void* library = dlopen(chosen.library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    chosen.why_none = dynamic_linker_error();
    return;
  }
  CudaDriver driver{};
  if (const std::string missing = find_all(library, driver); !missing.empty()) {
    chosen.why_none =
        chosen.library + " has no function " + missing + "; CUDA 11.2 or later is required";
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
  if (!opened) throw DeviceError("cannot load the CUDA driver: " + dynamic_linker_error());
  CudaDriver driver{};
  if (const std::string missing = find_all(opened, driver); !missing.empty())
    throw DeviceError(library.string() +
                      " is not a CUDA driver of version 11.2 or later: it has no function " +
                      missing);

  Choice& chosen = choice();
  const std::lock_guard lock(chosen.mutex);
  if (chosen.driver) {
    throw Error("cannot change the CUDA driver to " + library.string() +
                ": this process already uses " + chosen.library +
                "; call use_cuda_driver() before any function that asks for a GPU");
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
