// A plan's transfers in their order, handed out to threads in groups, and read-ahead.
#pragma once

#include <cstdint>
#include <mutex>

#include "transfer/run_state.h"

namespace transload {

// Transfers that one thread carries out: consecutive ones of a plan.
struct Group {
  std::uint32_t begin = 0, end = 0;              // by number; equal: there are no more
  std::uint32_t ahead_begin = 0, ahead_end = 0;  // those whose bytes the disk can fetch meanwhile
  bool together = false;                         // one read fetches them
};

// Safe to call from any thread.
class TransferQueue {
 public:
  explicit TransferQueue(const RunState& run) : run_(run) {}

  Group next();
  // Asks the files' sources to prefetch what comes after the group.
  void prefetch(const Group& group) const;

 private:
  void extend_together(Group& group) const;
  void extend_inflating(Group& group) const;

  const RunState& run_;
  std::mutex mutex_;                                  // of all below
  std::uint32_t next_ = 0, ahead_ = 0;                // transfers: to hand out, to prefetch
  std::uint64_t read_nbytes_ = 0, ahead_nbytes_ = 0;  // of the transfers before them
};

// What lies between two small transfers of a group is read too, if it is not longer.
inline constexpr std::uint64_t kMaxGap = 4 << 10;

}  // namespace transload
