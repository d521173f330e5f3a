// The backend of host memory, with counters of what this process has allocated.
#include "device/cpu.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "device/host_memory.h"
#include "transload/error.h"
#include "types/checked.h"

namespace transload {
namespace {

// 64: a cache line, and torch's CPU alignment (pytorch c10/core/alignment.h, gAlignment).
constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kHugePage = 2ull << 20;

// Stateless: every copy is done when its call returns, so there is nothing to wait for.
class CpuCopies : public CopyStream {
 public:
  void to_device(std::byte* target, std::span<const std::byte> staging) override {
    std::memcpy(target, staging.data(), staging.size());
  }
  void to_host(std::span<std::byte> staging, const std::byte* source) override {
    std::memcpy(staging.data(), source, staging.size());
  }
  void on_device(std::byte* target, const std::byte* source, Device,
                 std::uint64_t nbytes) override {
    std::memmove(target, source, nbytes);
  }
  std::uint64_t mark() override { return 0; }
  void wait(std::uint64_t) override {}
};

class CpuBackend : public Backend {
 public:
  int device_count() const override { return 1; }

  MemoryUse memory_use(Device device) const override {
    MemoryUse use;
    use.device = device;
    use.name = "host memory";
    HostMemory memory = host_memory();
    use.total = memory.total;
    use.free = memory.free;
    use.limit = std::move(memory.limit);
    use.allocated = use.reserved = allocated_;
    use.allocated_peak = use.reserved_peak = peak_;
    use.granularity = use.alignment = kAlignment;
    return use;
  }

  Storage allocate(Device device, std::uint64_t nbytes) override {
    const std::uint64_t rounded = round_up(nbytes, kAlignment);
    if (rounded < nbytes) no_memory(nbytes);
    if (rounded == 0) return Storage(device, nullptr, 0, std::make_shared<char>());
    // Counted before the allocation, so that concurrent callers see the peak of all of them.
    const std::uint64_t now = allocated_ += rounded;
    for (std::uint64_t peak = peak_; peak < now && !peak_.compare_exchange_weak(peak, now);) {
    }
    std::byte* data = rounded >= kHugePage
                          ? map_huge(rounded)
                          : static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
    if (!data) {
      allocated_ -= rounded;
      no_memory(nbytes);
    }
    return Storage(device, data, nbytes, std::shared_ptr<void>(data, [this, rounded](void* block) {
                     if (rounded >= kHugePage) {
                       munmap(block, rounded);
                     } else {
                       std::free(block);
                     }
                     allocated_ -= rounded;
                   }));
  }

  void empty_cache(Device) override {}

  Storage allocate_staging(Device, std::uint64_t nbytes) override {
    const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    void* block = std::aligned_alloc(page, round_up(nbytes, page));
    if (!block) no_memory(nbytes);
    return Storage(kCpu, static_cast<std::byte*>(block), nbytes,
                   std::shared_ptr<void>(block, std::free));
  }

  std::unique_ptr<CopyStream> open_stream(Device, std::uintptr_t) override {
    return std::make_unique<CpuCopies>();
  }

 private:
  // Returns memory that starts at a multiple of 2 MiB, as huge pages require. Maps 2 MiB more than
  // asked and unmaps the surplus at both ends. Null if the system refuses.
  static std::byte* map_huge(std::uint64_t nbytes) {
    if (nbytes > nbytes + kHugePage) return nullptr;
    void* all = mmap(nullptr, nbytes + kHugePage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return nullptr;
    auto* const begin = static_cast<std::byte*>(all);
    const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    const std::uint64_t before = round_up(reinterpret_cast<std::uintptr_t>(begin), kHugePage) -
                                 reinterpret_cast<std::uintptr_t>(begin);
    const std::uint64_t used = round_up(nbytes, page);
    if (before) munmap(begin, before);
    if (kHugePage > before + (used - nbytes))
      munmap(begin + before + used, nbytes + kHugePage - before - used);
    madvise(begin + before, nbytes,
            MADV_HUGEPAGE);  // optional: fails on kernels without huge pages
    return begin + before;
  }

  [[noreturn]] static void no_memory(std::uint64_t nbytes) {
    const HostMemory memory = host_memory();
    throw DeviceError("cpu: cannot allocate " + std::to_string(nbytes) + " bytes; " +
                      human_bytes(memory.free) + " are free" +
                      (memory.limit.empty() ? "" : ", by " + memory.limit));
  }

  std::atomic<std::uint64_t> allocated_ = 0, peak_ = 0;  // bytes, rounded to kAlignment
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend() { return std::make_unique<CpuBackend>(); }

}  // namespace transload
