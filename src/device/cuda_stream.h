// The copy stream of one GPU: asynchronous copies between pinned staging memory, the device and its
// peers. The engine queues copies here while other threads read files.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device/backend.h"
#include "device/cuda_device.h"

namespace transload {

// Its CUstream is CU_STREAM_NON_BLOCKING, so copies overlap with work on the legacy default stream.
class CudaCopies final : public CopyStream {
 public:
  // Copies start after the work that is now queued on the device's own stream (kernels and frees)
  // and on the CUstream `after`, if it is not 0. Throws DeviceError.
  CudaCopies(std::shared_ptr<CudaDevices> devices, Device device, std::uintptr_t after);
  ~CudaCopies() override;

  void to_device(std::byte* target, std::span<const std::byte> staging) override;
  void to_host(std::span<std::byte> staging, const std::byte* source) override;
  void on_device(std::byte* target, const std::byte* source, Device source_device,
                 std::uint64_t nbytes) override;
  std::uint64_t mark() override;
  void wait(std::uint64_t mark) override;

 private:
  // An event recorded in the stream. It stays in marks_ while a thread waits for it.
  struct Mark {
    std::uint64_t number;
    CUevent event;
    int waiting = 0;  // threads
  };

  void check_copy(CUresult result, std::string_view call, std::uint64_t nbytes) const;
  CUevent unused_event();
  void retire_marks();

  std::shared_ptr<CudaDevices> devices_;
  std::shared_ptr<CudaDevice> device_;
  const CudaDriver& driver_;
  CudaStream stream_;

  std::mutex mutex_;        // guards the order of calls on the stream and the members below
  std::deque<Mark> marks_;  // ascending numbers
  std::vector<CUevent> unused_;
  std::uint64_t last_mark_ = 0;
  std::uint64_t done_ = 0;  // the highest mark that is known to be done
};

}  // namespace transload
