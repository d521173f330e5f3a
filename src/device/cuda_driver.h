// The part of the CUDA driver API that transload uses: its types, its constants and a table of its
// functions, which are loaded at run time. The names and values are those of the CUDA Driver API
// reference (cuda.h). Declaring them here lets every build support GPUs without a CUDA toolkit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "transload/device.h"

namespace transload {

// The error codes that transload distinguishes or the emulated driver returns.
enum CUresult : int {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NOT_INITIALIZED = 3,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_IMAGE = 200,
  CUDA_ERROR_INVALID_CONTEXT = 201,
  CUDA_ERROR_ECC_UNCORRECTABLE = 214,
  CUDA_ERROR_INVALID_PTX = 218,
  CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_NOT_READY = 600,
  CUDA_ERROR_ILLEGAL_ADDRESS = 700,
  CUDA_ERROR_LAUNCH_FAILED = 719,
  CUDA_ERROR_NOT_SUPPORTED = 801,
};

using CUdevice = int;
using CUdeviceptr = std::uint64_t;
using CUcontext = struct CUctx_st*;
using CUstream = struct CUstream_st*;  // null: the legacy default stream, PyTorch's default
using CUevent = struct CUevent_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUmemoryPool = struct CUmemPoolHandle_st*;

enum CUdevice_attribute : int {
  CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING = 41,
  CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED = 115,
};

enum CUmemPool_attribute : int {
  CU_MEMPOOL_ATTR_RELEASE_THRESHOLD = 4,  // the values of all attributes are std::uint64_t
  CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT = 5,
  CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH = 6,
  CU_MEMPOOL_ATTR_USED_MEM_CURRENT = 7,
  CU_MEMPOOL_ATTR_USED_MEM_HIGH = 8,
};

enum CUmemAllocationType : int { CU_MEM_ALLOCATION_TYPE_PINNED = 1 };
enum CUmemAllocationHandleType : int { CU_MEM_HANDLE_TYPE_NONE = 0 };
enum CUmemLocationType : int { CU_MEM_LOCATION_TYPE_DEVICE = 1 };

struct CUmemLocation {
  CUmemLocationType type;
  int id;  // device ordinal
};

struct CUmemPoolProps {
  CUmemAllocationType allocType;
  CUmemAllocationHandleType handleTypes;
  CUmemLocation location;
  void* win32SecurityAttributes;
  unsigned char reserved[64];  // newer drivers define the first bytes; 0 selects their defaults
};

constexpr unsigned CU_STREAM_DEFAULT = 0;  // synchronizes with the legacy default stream
constexpr unsigned CU_STREAM_NON_BLOCKING = 1;
constexpr unsigned CU_EVENT_BLOCKING_SYNC = 1;
constexpr unsigned CU_EVENT_DISABLE_TIMING = 2;
constexpr unsigned CU_MEMHOSTALLOC_PORTABLE = 1;

// One pointer per function, named as in the manual. cuda_driver.cc chooses the exported version
// (_v2).
struct CudaDriver {
  CUresult (*cuInit)(unsigned flags);
  CUresult (*cuDriverGetVersion)(int* version);
  CUresult (*cuGetErrorName)(CUresult error, const char** name);
  CUresult (*cuGetErrorString)(CUresult error, const char** text);

  CUresult (*cuDeviceGetCount)(int* count);
  CUresult (*cuDeviceGet)(CUdevice* device, int index);
  CUresult (*cuDeviceGetName)(char* name, int capacity, CUdevice device);
  CUresult (*cuDeviceGetAttribute)(int* value, CUdevice_attribute attribute, CUdevice device);
  CUresult (*cuDevicePrimaryCtxRetain)(CUcontext* context, CUdevice device);
  CUresult (*cuDevicePrimaryCtxRelease)(CUdevice device);
  CUresult (*cuDevicePrimaryCtxGetState)(CUdevice device, unsigned* flags, int* active);
  CUresult (*cuCtxPushCurrent)(CUcontext context);
  CUresult (*cuCtxPopCurrent)(CUcontext* context);
  CUresult (*cuCtxGetCurrent)(CUcontext* context);

  CUresult (*cuMemGetInfo)(std::size_t* free, std::size_t* total);
  CUresult (*cuMemPoolCreate)(CUmemoryPool* pool, const CUmemPoolProps* properties);
  CUresult (*cuMemPoolDestroy)(CUmemoryPool pool);
  CUresult (*cuMemPoolSetAttribute)(CUmemoryPool pool, CUmemPool_attribute attribute, void* value);
  CUresult (*cuMemPoolGetAttribute)(CUmemoryPool pool, CUmemPool_attribute attribute, void* value);
  CUresult (*cuMemPoolTrimTo)(CUmemoryPool pool, std::size_t nbytes_to_keep);
  CUresult (*cuMemAllocFromPoolAsync)(CUdeviceptr* address, std::size_t nbytes, CUmemoryPool pool,
                                      CUstream stream);
  CUresult (*cuMemFreeAsync)(CUdeviceptr address, CUstream stream);
  CUresult (*cuMemHostAlloc)(void** address, std::size_t nbytes, unsigned flags);
  CUresult (*cuMemFreeHost)(void* address);

  CUresult (*cuMemcpyHtoDAsync)(CUdeviceptr target, const void* source, std::size_t nbytes,
                                CUstream stream);
  CUresult (*cuMemcpyDtoHAsync)(void* target, CUdeviceptr source, std::size_t nbytes,
                                CUstream stream);
  CUresult (*cuMemcpyDtoDAsync)(CUdeviceptr target, CUdeviceptr source, std::size_t nbytes,
                                CUstream stream);
  CUresult (*cuMemcpyPeerAsync)(CUdeviceptr target, CUcontext target_context, CUdeviceptr source,
                                CUcontext source_context, std::size_t nbytes, CUstream stream);

  CUresult (*cuStreamCreate)(CUstream* stream, unsigned flags);
  CUresult (*cuStreamDestroy)(CUstream stream);
  CUresult (*cuStreamSynchronize)(CUstream stream);
  CUresult (*cuStreamWaitEvent)(CUstream stream, CUevent event, unsigned flags);
  CUresult (*cuEventCreate)(CUevent* event, unsigned flags);
  CUresult (*cuEventDestroy)(CUevent event);
  CUresult (*cuEventRecord)(CUevent event, CUstream stream);
  CUresult (*cuEventQuery)(CUevent event);
  CUresult (*cuEventSynchronize)(CUevent event);

  CUresult (*cuModuleLoadData)(CUmodule* module, const void* image);
  CUresult (*cuModuleUnload)(CUmodule module);
  CUresult (*cuModuleGetFunction)(CUfunction* function, CUmodule module, const char* name);
  CUresult (*cuLaunchKernel)(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                             unsigned block_x, unsigned block_y, unsigned block_z,
                             unsigned shared_nbytes, CUstream stream, void** arguments,
                             void** extra);
};

// Returns the initialized driver: libcuda.so.1, or the library that use_cuda_driver() chose.
// Returns null if there is no driver or it has no devices. The first call loads it; a loaded driver
// is never replaced or closed. Any thread may call it.
const CudaDriver* cuda_driver();

// Returns why cuda_driver() is null: "libcuda.so.1: cannot open shared object file". Empty if it is
// not null.
std::string why_no_cuda_driver();

// Returns the driver's name and text of an error: "CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
std::string error_text(const CudaDriver& driver, CUresult result);

// Throws DeviceError, "cuda:1: cuMemFreeAsync failed: ...", unless the result is CUDA_SUCCESS.
// `detail` follows the name of the call: " of 512 bytes".
void check(const CudaDriver& driver, CUresult result, Device device, std::string_view call,
           std::string_view detail = {});

}  // namespace transload
