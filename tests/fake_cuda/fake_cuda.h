// The emulated CUDA driver: a libcuda.so.1 over host memory, for machines without a GPU. Its entry points are the
// driver's; what is declared here is how a test sets it up, breaks it and looks inside.
//
// What it does that helps to find mistakes: streams are threads, so that a wait that was forgotten is seen as wrong
// bytes; device memory cannot be touched by the CPU and is poisoned when it is allocated and when it is freed; a copy
// or kernel outside of a live allocation is an error that sticks, as on a GPU; memory that is not pinned is counted.
#pragma once

#include <cstdint>

extern "C" {

// 2 devices of 1 GiB until told otherwise. Returns 0, and changes nothing, while a context is alive.
int fake_cuda_configure(int devices, std::uint64_t total_nbytes);

// Sets faults, delay, hold and counters back, except those of what is alive. Devices that were lost are well again.
void fake_cuda_reset(void);

struct FakeCudaCounters {
  // Bytes that were copied, by where to. Of a copy between peers, the target counts peer_in, the source peer_out.
  std::uint64_t to_device, to_host, on_device, peer_in, peer_out;
  std::uint64_t unpinned;  // of to_device and to_host: from or to host memory that is not pinned
  std::uint64_t copies, launches;
  std::uint64_t allocations, allocations_alive;
  std::uint64_t contexts_made, contexts_alive;
  std::uint64_t pools_alive, streams_alive, events_alive, modules_alive, modules_loaded;
};
void fake_cuda_counters(int device, struct FakeCudaCounters* counters);

// Of pinned host memory, alive.
std::uint64_t fake_cuda_pinned_nbytes(void);

// Streams wait so long before each thing they do.
void fake_cuda_delay(std::uint64_t microseconds);
// Streams do nothing until they are let go. Whoever waits for them meanwhile, allocates or frees waits too.
void fake_cuda_hold(void);
void fake_cuda_let_go(void);

// The next is number 1. `times` in a row fail, for lack of memory.
void fake_cuda_fail_allocation(int device, std::uint64_t number, std::uint64_t times);
void fake_cuda_fail_host_allocation(std::uint64_t number);
// The call fails, or the copy itself does, later, which breaks the context for good.
enum FakeCudaFailure { fake_cuda_fails_at_once, fake_cuda_fails_later };
void fake_cuda_fail_copy(int device, std::uint64_t number, enum FakeCudaFailure when);
// All that is asked of the device from now on fails.
void fake_cuda_lose_device(int device);
}
