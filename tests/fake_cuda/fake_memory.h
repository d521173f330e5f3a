// The memory of one emulated device: a range of addresses that the CPU cannot access, and a second
// mapping that holds the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "device/cuda_driver.h"

namespace fake_cuda {

using transload::CUdeviceptr;

// Sizes in bytes. The driver's manual does not specify them; traces of real GPUs (cuda_probe.cc)
// do.
constexpr std::uint64_t kGranularity = 512;            // `used` grows in multiples of it
constexpr std::uint64_t kSegmentNbytes = 32ull << 20;  // `reserved` grows in multiples of it
constexpr std::uint64_t kContextNbytes = 8ull << 20;   // device memory that a context takes
constexpr int kPoisonNew = 0xA5, kPoisonFreed = 0xDD;

// A memory pool: the segments it has taken from the device, and the free ranges (offset to nbytes)
// in each.
struct Pool {
  struct Segment {
    std::uint64_t nbytes;
    std::map<std::uint64_t, std::uint64_t> free;
  };
  int device;
  bool destroyed = false;  // its memory is returned with its last allocation
  std::uint64_t release_threshold = 0;
  std::uint64_t used = 0, used_high = 0, reserved = 0, reserved_high = 0;
  std::map<std::uint64_t, Segment> segments;
};

struct Allocation {
  std::shared_ptr<Pool> pool;
  std::uint64_t nbytes;
  bool live = false;   // the stream has executed the allocation
  bool freed = false;  // its free is queued
};

// Not thread-safe: the machine's mutex guards it.
class Memory {
 public:
  explicit Memory(std::uint64_t total_nbytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::uint64_t total() const { return total_; }
  std::uint64_t free(bool has_context) const;

  // Returns nullopt if the device is full.
  std::optional<CUdeviceptr> allocate(const std::shared_ptr<Pool>& pool, std::uint64_t nbytes,
                                      bool has_context);
  void begin(CUdeviceptr address);  // the stream executes the allocation
  void end(CUdeviceptr address);    // the stream executes the free
  void trim(Pool& pool, std::uint64_t nbytes_to_keep);

  bool owns(CUdeviceptr address) const { return address >= base_ && address - base_ < span_; }
  // Returns the allocation that contains all these bytes, live or not yet live; null if there is
  // none.
  Allocation* find(CUdeviceptr address, std::uint64_t nbytes);
  bool is_live(CUdeviceptr address, std::uint64_t nbytes);
  // Returns the host address of the bytes at a device address.
  std::byte* bytes(CUdeviceptr address) const { return store_ + (address - base_); }

 private:
  std::optional<std::uint64_t> place_segment(std::uint64_t nbytes) const;

  std::uint64_t total_,
      span_;  // span_: the range of addresses, larger than total_ so that fragmentation does no harm
  CUdeviceptr base_;
  std::byte* store_;
  std::uint64_t reserved_ = 0;                       // bytes, by all pools
  std::map<std::uint64_t, std::uint64_t> segments_;  // of all pools: offset to nbytes
  std::map<CUdeviceptr, Allocation> allocations_;
};

}  // namespace fake_cuda
