// The memory of one emulated device. Addresses that the CPU cannot touch, and elsewhere the bytes behind them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "device/cuda_driver.h"

namespace fake_cuda {

using transload::CUdeviceptr;

// What the first trace of a real driver has to confirm or correct.
constexpr std::uint64_t kGranularity = 512;            // of `used`
constexpr std::uint64_t kSegmentNbytes = 32ull << 20;  // `reserved` grows in multiples of it
constexpr std::uint64_t kContextNbytes = 8ull << 20;   // that a context takes of the device
constexpr int kPoisonNew = 0xA5, kPoisonFreed = 0xDD;

// Segments that it has taken from the device, with what is free in each: offset and nbytes.
struct Pool {
  struct Segment {
    std::uint64_t nbytes;
    std::map<std::uint64_t, std::uint64_t> free;
  };
  int device;
  bool destroyed = false;  // and gone with its last allocation
  std::uint64_t release_threshold = 0;
  std::uint64_t used = 0, used_high = 0, reserved = 0, reserved_high = 0;
  std::map<std::uint64_t, Segment> segments;
};

struct Allocation {
  std::shared_ptr<Pool> pool;
  std::uint64_t nbytes;
  bool live = false;   // its stream has come to the allocation
  bool freed = false;  // its free is queued
};

// Not safe for threads: the machine's mutex guards it.
class Memory {
 public:
  explicit Memory(std::uint64_t total_nbytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::uint64_t total() const { return total_; }
  std::uint64_t free(bool has_context) const;

  // Empty if the device is full.
  std::optional<CUdeviceptr> allocate(const std::shared_ptr<Pool>& pool, std::uint64_t nbytes,
                                      bool has_context);
  void begin(CUdeviceptr address);  // the stream has come to the allocation
  void end(CUdeviceptr address);    // the stream has come to the free
  void trim(Pool& pool, std::uint64_t nbytes_to_keep);

  bool owns(CUdeviceptr address) const { return address >= base_ && address - base_ < span_; }
  // The allocation that all the bytes lie in, live or not yet; null if there is none.
  Allocation* find(CUdeviceptr address, std::uint64_t nbytes);
  bool is_live(CUdeviceptr address, std::uint64_t nbytes);
  // Where the bytes of a device address really are.
  std::byte* bytes(CUdeviceptr address) const { return store_ + (address - base_); }

 private:
  std::optional<std::uint64_t> place_segment(std::uint64_t nbytes) const;

  std::uint64_t total_, span_;  // span: of addresses, more than bytes, so that gaps do no harm
  CUdeviceptr base_;
  std::byte* store_;
  std::uint64_t reserved_ = 0;                       // by all pools
  std::map<std::uint64_t, std::uint64_t> segments_;  // of all pools: offset and nbytes
  std::map<CUdeviceptr, Allocation> allocations_;
};

}  // namespace fake_cuda
