// The host memory that a run holds besides: buffers of its threads, and slots that devices copy from while the threads
// go on. And the streams of the devices.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "device/backend.h"
#include "transfer/run_state.h"

namespace transload {

// Between a copy's start and its mark the bytes belong to the device.
struct Slot {
  std::span<std::byte> bytes;
  CopyStream* stream = nullptr;  // that last copied from it
  std::uint64_t mark = 0;
  std::vector<std::uint32_t> transfers;  // that are under way from it
};

// Two buffers of one thread, each a slot long or empty if the plan does not need it.
struct Buffers {
  std::span<std::byte> in;   // bytes as they come from a file or a device
  std::span<std::byte> out;  // elements as they go to a file, if they change on the way
};

class Staging {
 public:
  // Allocates what the plan needs, and opens the streams of its devices.
  explicit Staging(RunState& run);

  int threads() const { return threads_; }
  Buffers buffers(int thread) const;
  CopyStream& stream(Device device) const { return *streams_.at(device); }

  // The slot that has waited longest for its copies, which are done when this returns. Blocks until there is one. Throws
  // what those copies failed with, so that a failure is not taken for that of the next transfer.
  Slot& take_slot(Device device);
  void give_back(Slot& slot);
  // Of a slot whose transfers failed: how far they came is not known.
  void give_up(Slot& slot);
  // Waits for all copies. The first failure is thrown when all have ended.
  void settle_all();

  // Buffers begin so many bytes before what is written to a file, at most: as far from a page's beginning as in the file.
  static constexpr std::uint64_t kPage = 4096;

 private:
  struct Needs {
    bool in = false, out = false, slots = false;
    Device source = kCpu, target = kCpu;  // a device that buffers, or slots, are pinned for
  };
  Needs examine();
  void open_streams();
  void settle(Slot& slot);

  RunState& run_;
  int threads_ = 1;
  std::uint64_t buffer_nbytes_ = 0;  // of each
  Needs needs_;
  Storage buffers_, slot_memory_;
  std::vector<Slot> slots_;
  std::map<Device, std::unique_ptr<CopyStream>>
      streams_;  // gone, and so waited for, before the memory
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<Slot*> free_;  // guarded by mutex_
};

// The caller's stream on a device, as the options name it; 0: none.
std::uintptr_t stream_of(const IoOptions& io, Device device);

}  // namespace transload
