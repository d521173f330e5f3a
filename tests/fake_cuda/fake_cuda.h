// The emulated CUDA driver: a libcuda.so.1 over host memory, for machines without a GPU. It exports
// the driver's entry points; this header declares the functions by which a test configures it,
// injects faults and reads its counters. Any thread may call them.
//
// It exposes mistakes. Streams are threads, so a missing wait shows as wrong bytes. The CPU cannot
// access device memory, which is filled with a poison pattern when it is allocated and when it is
// freed. A copy or kernel outside a live allocation is a sticky error, as on a GPU. Copies from and
// to memory that is not pinned are counted.
#pragma once

#include <cstdint>

extern "C" {

// Sets the number of devices and the memory of each in bytes; the default is 2 devices of 1 GiB.
// Returns 1, or 0 without any change while a context is alive.
int fake_cuda_configure(int devices, std::uint64_t total_nbytes);

// Clears faults, delay, hold and the counters, except the *_alive ones, and restores lost devices.
void fake_cuda_reset(void);

struct FakeCudaCounters {
  // Bytes copied, by direction. A copy between peers counts as peer_in on the target and peer_out
  // on the source.
  std::uint64_t to_device, to_host, on_device, peer_in, peer_out;
  std::uint64_t unpinned;  // the part of to_device and to_host whose host memory is not pinned
  std::uint64_t copies, launches;
  std::uint64_t allocations, allocations_alive;
  std::uint64_t contexts_made, contexts_alive;
  std::uint64_t pools_alive, streams_alive, events_alive, modules_alive, modules_loaded;
};
void fake_cuda_counters(int device, struct FakeCudaCounters* counters);

// Returns the bytes of pinned host memory that are allocated.
std::uint64_t fake_cuda_pinned_nbytes(void);

// Makes streams wait this long before each operation.
void fake_cuda_delay(std::uint64_t microseconds);
// Stops all streams until fake_cuda_let_go(). Calls that wait for a stream block meanwhile.
void fake_cuda_hold(void);
void fake_cuda_let_go(void);

// Makes allocations fail with CUDA_ERROR_OUT_OF_MEMORY: `times` in a row from allocation `number`
// on. The next allocation is number 1.
void fake_cuda_fail_allocation(int device, std::uint64_t number, std::uint64_t times);
void fake_cuda_fail_host_allocation(std::uint64_t number);
// Makes copy `number` fail: either the call, or later the copy itself, which breaks the context
// permanently.
enum FakeCudaFailure { fake_cuda_fails_at_once, fake_cuda_fails_later };
void fake_cuda_fail_copy(int device, std::uint64_t number, enum FakeCudaFailure when);
// Makes every later call on the device fail.
void fake_cuda_lose_device(int device);
}
