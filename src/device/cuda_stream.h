// Copies from and to one GPU, on a stream of the driver's that waits for no other.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device/backend.h"
#include "device/cuda_device.h"

namespace transload {

class CudaCopies final : public CopyStream {
 public:
  // Starts after what is queued on the device's own stream, kernels and frees, and on `after`, if not 0.
  CudaCopies(std::shared_ptr<CudaDevices> devices, Device device, std::uintptr_t after);
  ~CudaCopies() override;

  void to_device(std::byte* target, std::span<const std::byte> staging) override;
  void to_host(std::span<std::byte> staging, const std::byte* source) override;
  void on_device(std::byte* target, const std::byte* source, Device source_device,
                 std::uint64_t nbytes) override;
  std::uint64_t mark() override;
  void wait(std::uint64_t mark) override;

 private:
  // An event that was recorded in the stream. Stays where it is while somebody waits for it.
  struct Mark {
    std::uint64_t number;
    CUevent event;
    int waiting = 0;
  };

  void check_copy(CUresult result, std::string_view call, std::uint64_t nbytes) const;
  CUevent unused_event();
  void retire_marks();

  std::shared_ptr<CudaDevices> devices_;
  std::shared_ptr<CudaDevice> device_;
  const CudaDriver& driver_;
  CudaStream stream_;

  std::mutex mutex_;        // of the stream's order and of all below
  std::deque<Mark> marks_;  // by number
  std::vector<CUevent> unused_;
  std::uint64_t last_mark_ = 0;
  std::uint64_t done_ = 0;  // the highest mark that was reached
};

}  // namespace transload
