// What one kind of device can do: memory and copies, nothing else. Arithmetic is nn/'s.
// A device is one file here, its row in backends.cc, and its kind in device.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "transload/device.h"
#include "transload/tensor.h"

namespace transload {

// Copies on one device, run in the order given while the caller goes on. Any thread may call it.
// A copy that fails is reported by the call itself or by wait(), as DeviceError. The destructor waits.
class CopyStream {
 public:
  virtual ~CopyStream() = default;
  virtual void to_device(std::byte* target, std::span<const std::byte> staging) = 0;
  virtual void to_host(std::span<std::byte> staging, const std::byte* source) = 0;
  // From this or another device of the same kind to the stream's own device.
  virtual void on_device(std::byte* target, const std::byte* source, Device source_device,
                         std::uint64_t nbytes) = 0;
  virtual std::uint64_t mark() = 0;           // names all that is queued so far
  virtual void wait(std::uint64_t mark) = 0;  // from here on, their staging bytes are free again
};

// One kind of device. Safe to call from any thread. allocate() throws DeviceError, with the device,
// the bytes asked for and the bytes free.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual int device_count() const = 0;  // 0 is an answer, not an error
  virtual MemoryUse memory_use(Device device) const = 0;
  virtual Storage allocate(Device device, std::uint64_t nbytes) = 0;  // bytes not initialised
  virtual void empty_cache(Device device) = 0;
  // Page-aligned host memory that the device copies from and to while the caller goes on: pinned for a GPU.
  virtual Storage allocate_staging(Device device, std::uint64_t nbytes) = 0;
  // Copies start after all that is queued on `after`, a stream of the caller's on that device; 0: none.
  virtual std::unique_ptr<CopyStream> open_stream(Device device, std::uintptr_t after = 0) = 0;
};

// The backend of a kind of device; never changes once made.
Backend& backend_for(DeviceKind kind);
inline Backend& backend_for(Device device) { return backend_for(device.kind); }

// Throws PlacementError, naming the devices that are here, if this one is not.
void require_present(Device device);

}  // namespace transload
