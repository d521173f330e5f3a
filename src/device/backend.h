// Backend: the memory and the copies of one kind of device. Everything above this folder reaches
// devices through it; arithmetic is in nn/. To add a kind of device, add one file here, a row in
// backends.cc and a value of DeviceKind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "transload/device.h"
#include "transload/tensor.h"

namespace transload {

// A queue of asynchronous copies on one device, executed in order. Any thread may call it. A failed
// copy throws DeviceError, either from the call that queues it or from wait(). The destructor
// blocks until the queued copies are done. The caller keeps all memory alive and unchanged until
// then. Sizes are bytes.
class CopyStream {
 public:
  virtual ~CopyStream() = default;
  // Copies host memory from allocate_staging() to the device.
  virtual void to_device(std::byte* target, std::span<const std::byte> staging) = 0;
  // Copies device memory to host memory from allocate_staging().
  virtual void to_host(std::span<std::byte> staging, const std::byte* source) = 0;
  // Copies from this or another device of the same kind to the stream's own device.
  virtual void on_device(std::byte* target, const std::byte* source, Device source_device,
                         std::uint64_t nbytes) = 0;
  // Returns a number that stands for all copies queued so far.
  virtual std::uint64_t mark() = 0;
  // Blocks until those copies are done. Their staging memory may be reused afterwards.
  virtual void wait(std::uint64_t mark) = 0;
};

// One kind of device. Any thread may call it. Callers check with require_present() that a device
// exists.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual int device_count() const = 0;  // returns 0 without a driver; never throws
  virtual MemoryUse memory_use(Device device) const = 0;
  // Returns uninitialized memory. Throws DeviceError with the device, the requested bytes and the
  // free bytes if there is not enough.
  virtual Storage allocate(Device device, std::uint64_t nbytes) = 0;
  virtual void empty_cache(Device device) = 0;
  // Returns page-aligned host memory for asynchronous copies: pinned memory for a GPU. Throws
  // DeviceError.
  virtual Storage allocate_staging(Device device, std::uint64_t nbytes) = 0;
  // Opens a stream whose copies start after the work that is now queued on `after`, a stream of the
  // caller on that device; 0 for none.
  virtual std::unique_ptr<CopyStream> open_stream(Device device, std::uintptr_t after = 0) = 0;
};

// Returns the backend of a kind of device. It lives as long as the process.
Backend& backend_for(DeviceKind kind);
inline Backend& backend_for(Device device) { return backend_for(device.kind); }

// Throws PlacementError, with the devices that are present, if this one is not.
void require_present(Device device);

}  // namespace transload
