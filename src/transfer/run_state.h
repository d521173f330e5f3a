// What the threads of one run share: the plan, how far it came, and the checksums of what passed by.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "transfer/checksums.h"
#include "transfer/engine.h"
#include "transload/error.h"

namespace transload {

struct RunState {
  RunState(const Plan& the_plan, const Endpoints& the_ends, const IoOptions& the_io,
           Outcome& the_outcome);

  const Transfer& transfer(std::uint32_t number) const { return plan.transfers[number]; }
  // Of a memory; the CPU for a file.
  Device device(const Place& place) const {
    return place.kind == Place::Kind::memory ? plan.memories[place.number].device : kCpu;
  }
  bool is_on_device(const Place& place) const { return device(place).kind != DeviceKind::cpu; }
  // Address of the place, which is a memory.
  std::byte* address(const Place& place) const {
    return ends.memories[place.number].data() + place.offset;
  }

  // Each transfer is changed by the thread that has it, and read when all threads have ended.
  void set_reached(std::uint32_t number, Reached reached) { outcome.reached[number] = reached; }

  // Adds bytes to the checksum of the piece that they were read from or written to, if it is asked for. `offset`: in the
  // file; of a deflated piece as if it lay there inflated.
  void sum_read(const Transfer& t, std::uint64_t offset, std::span<const std::byte> bytes);
  void sum_written(const Transfer& t, std::uint64_t offset, std::span<const std::byte> bytes);
  void take_sums();  // into the outcome

  // Says in an error what was copied: for "encoder.weight" (float32 [10, 10]), 400 bytes to cuda:0.
  void name_transfer(Error& error, std::uint32_t number) const;

  const Plan& plan;
  const Endpoints& ends;
  const IoOptions& io;
  Outcome& outcome;
  std::atomic<std::uint64_t> done_nbytes = 0;
  std::atomic<bool> stop = false;

 private:
  std::vector<std::uint32_t>
      checked_;  // by Transfer::reads, its number in Plan::checked; empty if none are
  Checksums read_sums_, written_sums_;
};

}  // namespace transload
