// Queues copies with cuMemcpy*Async and waits for them with events.
#include "device/cuda_stream.h"

#include <algorithm>
#include <cassert>

#include "transload/error.h"

namespace transload {
namespace {

CUdeviceptr address(const std::byte* pointer) { return reinterpret_cast<CUdeviceptr>(pointer); }

}  // namespace

CudaCopies::CudaCopies(std::shared_ptr<CudaDevices> devices, Device device, std::uintptr_t after)
    : devices_(std::move(devices)),
      device_(devices_->use(device)),
      driver_(device_->context().driver()),
      stream_(device_->context(), CU_STREAM_NON_BLOCKING) {
  stream_.wait_for(device_->stream().handle());
  if (after) stream_.wait_for(reinterpret_cast<CUstream>(after));
}

CudaCopies::~CudaCopies() {
  for (const Mark& mark : marks_) unused_.push_back(mark.event);
  try {
    const CurrentContext current(device_->context());
    driver_.cuStreamSynchronize(stream_.handle());
    for (const CUevent event : unused_) driver_.cuEventDestroy(event);
  } catch (const Error&) {  // on a lost device nothing is left to free
  }
}

void CudaCopies::check_copy(CUresult result, std::string_view call, std::uint64_t nbytes) const {
  if (result != CUDA_SUCCESS)
    device_->context().check(result, call, " of " + std::to_string(nbytes) + " bytes");
}

void CudaCopies::to_device(std::byte* target, std::span<const std::byte> staging) {
  if (staging.empty()) return;
  const CurrentContext current(device_->context());
  const std::lock_guard lock(mutex_);
  check_copy(
      driver_.cuMemcpyHtoDAsync(address(target), staging.data(), staging.size(), stream_.handle()),
      "cuMemcpyHtoDAsync", staging.size());
}

void CudaCopies::to_host(std::span<std::byte> staging, const std::byte* source) {
  if (staging.empty()) return;
  const CurrentContext current(device_->context());
  const std::lock_guard lock(mutex_);
  check_copy(
      driver_.cuMemcpyDtoHAsync(staging.data(), address(source), staging.size(), stream_.handle()),
      "cuMemcpyDtoHAsync", staging.size());
}

// cuMemcpyPeerAsync does not require access between the pools: the driver stages the copy through
// host memory if there is no direct path. cuMemPoolSetAccess would allow a direct one, but it has
// made such copies fail silently (driver 590, CUDA.jl pull request 3112).
void CudaCopies::on_device(std::byte* target, const std::byte* source, Device source_device,
                           std::uint64_t nbytes) {
  if (nbytes == 0) return;
  if (source_device == device_->context().device()) {
    const CurrentContext current(device_->context());
    const std::lock_guard lock(mutex_);
    check_copy(
        driver_.cuMemcpyDtoDAsync(address(target), address(source), nbytes, stream_.handle()),
        "cuMemcpyDtoDAsync", nbytes);
    return;
  }
  const std::shared_ptr<CudaDevice> peer = devices_->use(source_device);
  peer->synchronize();  // kernels that write the source may still be queued
  const CurrentContext current(device_->context());
  const std::lock_guard lock(mutex_);
  check_copy(
      driver_.cuMemcpyPeerAsync(address(target), device_->context().handle(), address(source),
                                peer->context().handle(), nbytes, stream_.handle()),
      "cuMemcpyPeerAsync from " + source_device.str(), nbytes);
}

// CU_EVENT_BLOCKING_SYNC: waiting threads sleep instead of spinning, because the cores read files.
CUevent CudaCopies::unused_event() {
  CUevent event;
  if (unused_.empty()) {
    const CUresult result =
        driver_.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC);
    device_->context().check(result, "cuEventCreate");
    return event;
  }
  event = unused_.back();
  unused_.pop_back();
  return event;
}

std::uint64_t CudaCopies::mark() {
  const CurrentContext current(device_->context());
  const std::lock_guard lock(mutex_);
  const CUevent event = unused_event();
  const CUresult result = driver_.cuEventRecord(event, stream_.handle());
  if (result != CUDA_SUCCESS) unused_.push_back(event);
  device_->context().check(result, "cuEventRecord");
  marks_.push_back({++last_mark_, event});
  return last_mark_;
}

void CudaCopies::wait(std::uint64_t number) {
  const CurrentContext current(device_->context());
  std::unique_lock lock(mutex_);
  assert(number <= last_mark_);
  if (number <= done_) return;
  const auto mark =
      std::find_if(marks_.begin(), marks_.end(), [&](const Mark& m) { return m.number == number; });
  // The reference stays valid while unlocked: adding and removing at the ends of a deque moves
  // nothing.
  Mark& waited = *mark;
  ++waited.waiting;
  lock.unlock();
  const CUresult result = driver_.cuEventSynchronize(waited.event);
  lock.lock();
  --waited.waiting;
  if (result == CUDA_SUCCESS) {
    done_ = std::max(done_, number);
    retire_marks();
  }
  lock.unlock();
  device_->context().check(result, "cuEventSynchronize", " after copies");
}

// Makes the events of finished marks available for new ones. The caller holds the mutex.
void CudaCopies::retire_marks() {
  while (!marks_.empty() && marks_.front().number <= done_ && marks_.front().waiting == 0) {
    unused_.push_back(marks_.front().event);
    marks_.pop_front();
  }
}

}  // namespace transload
