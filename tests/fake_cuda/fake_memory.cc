// Allocation of segments and ranges on one emulated device, first fit.
#include "fake_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <new>

#include "types/checked.h"

namespace fake_cuda {
namespace {

using transload::round_up;

std::byte* map_pages(std::uint64_t nbytes, int protection) {
  void* const pages =
      mmap(nullptr, nbytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(pages);
}

// Returns a range to the free list and merges it with adjacent free ranges.
void put_back(std::map<std::uint64_t, std::uint64_t>& free, std::uint64_t offset,
              std::uint64_t nbytes) {
  const auto next = free.lower_bound(offset);
  if (next != free.end() && offset + nbytes == next->first) {
    nbytes += next->second;
    free.erase(next);
  }
  const auto after = free.lower_bound(offset);
  if (after != free.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second == offset) {
      before->second += nbytes;
      return;
    }
  }
  free.emplace(offset, nbytes);
}

// Takes nbytes from the first free range that is long enough and returns their offset; nullopt if
// there is none.
std::optional<std::uint64_t> take(Pool& pool, std::uint64_t nbytes) {
  for (auto& [start, segment] : pool.segments) {
    for (const auto& [offset, free_nbytes] : segment.free) {
      if (free_nbytes < nbytes) continue;
      const std::uint64_t taken = offset, rest = free_nbytes - nbytes;
      segment.free.erase(offset);
      if (rest > 0) segment.free.emplace(taken + nbytes, rest);
      return taken;
    }
  }
  return {};
}

}  // namespace

Memory::Memory(std::uint64_t total_nbytes)
    : total_(total_nbytes),
      span_(round_up(std::max(4 * total_nbytes, kSegmentNbytes), kSegmentNbytes)),
      base_(reinterpret_cast<CUdeviceptr>(map_pages(span_, PROT_NONE))),
      store_(map_pages(span_, PROT_READ | PROT_WRITE)) {}

Memory::~Memory() {
  munmap(reinterpret_cast<void*>(base_), span_);
  munmap(store_, span_);
}

std::uint64_t Memory::free(bool has_context) const {
  const std::uint64_t taken = reserved_ + (has_context ? kContextNbytes : 0);
  return taken < total_ ? total_ - taken : 0;
}

std::optional<std::uint64_t> Memory::place_segment(std::uint64_t nbytes) const {
  std::uint64_t offset = 0;
  for (const auto& [start, length] : segments_) {
    if (start - offset >= nbytes) break;
    offset = start + length;
  }
  if (span_ - offset < nbytes) return {};
  return offset;
}

std::optional<CUdeviceptr> Memory::allocate(const std::shared_ptr<Pool>& pool, std::uint64_t nbytes,
                                            bool has_context) {
  if (nbytes > total_) return {};
  const std::uint64_t rounded = round_up(nbytes, kGranularity);
  std::optional<std::uint64_t> offset = take(*pool, rounded);
  if (!offset) {
    const std::uint64_t segment_nbytes = round_up(rounded, kSegmentNbytes);
    const auto start = place_segment(segment_nbytes);
    if (!start || segment_nbytes > free(has_context)) return {};
    segments_.emplace(*start, segment_nbytes);
    pool->segments[*start] = {segment_nbytes, {{*start, segment_nbytes}}};
    reserved_ += segment_nbytes;
    pool->reserved += segment_nbytes;
    pool->reserved_high = std::max(pool->reserved_high, pool->reserved);
    offset = take(*pool, rounded);
  }
  pool->used += rounded;
  pool->used_high = std::max(pool->used_high, pool->used);
  allocations_.emplace(base_ + *offset, Allocation{pool, nbytes});
  return base_ + *offset;
}

void Memory::begin(CUdeviceptr address) {
  Allocation& allocation = allocations_.at(address);
  allocation.live = true;
  std::memset(bytes(address), kPoisonNew, allocation.nbytes);
}

void Memory::end(CUdeviceptr address) {
  const auto found = allocations_.find(address);
  const std::shared_ptr<Pool> pool = found->second.pool;
  const std::uint64_t rounded = round_up(found->second.nbytes, kGranularity);
  std::memset(bytes(address), kPoisonFreed, found->second.nbytes);
  allocations_.erase(found);
  pool->used -= rounded;
  put_back(std::prev(pool->segments.upper_bound(address - base_))->second.free, address - base_,
           rounded);
  if (pool->destroyed) trim(*pool, 0);
}

void Memory::trim(Pool& pool, std::uint64_t nbytes_to_keep) {
  for (auto segment = pool.segments.begin(); segment != pool.segments.end();) {
    const auto& [start, parts] = *segment;
    const bool unused = parts.free.size() == 1 && parts.free.begin()->second == parts.nbytes;
    if (!unused || pool.reserved - parts.nbytes < nbytes_to_keep) {
      ++segment;
      continue;
    }
    madvise(store_ + start, parts.nbytes, MADV_DONTNEED);
    reserved_ -= parts.nbytes;
    pool.reserved -= parts.nbytes;
    segments_.erase(start);
    segment = pool.segments.erase(segment);
  }
}

Allocation* Memory::find(CUdeviceptr address, std::uint64_t nbytes) {
  const auto after = allocations_.upper_bound(address);
  if (after == allocations_.begin()) return nullptr;
  auto& [start, allocation] = *std::prev(after);
  const std::uint64_t offset = address - start;
  return offset <= allocation.nbytes && nbytes <= allocation.nbytes - offset ? &allocation
                                                                             : nullptr;
}

bool Memory::is_live(CUdeviceptr address, std::uint64_t nbytes) {
  const Allocation* allocation = find(address, nbytes);
  return allocation && allocation->live;
}

}  // namespace fake_cuda
