// One thread's work: its transfers, stage by stage. Bytes are read from where they are, converted, and delivered to where
// they go; checksums are computed where they are asked for.
#pragma once

#include <cstdint>
#include <span>

#include "transfer/piece_reader.h"
#include "transfer/queue.h"
#include "transfer/staging.h"

namespace transload {

class Mover {
 public:
  // `thread`: its number, for its buffers.
  Mover(RunState& run, Staging& staging, int thread);

  // Throws with the name of what failed.
  void carry_out(const Group& group);

 private:
  // Elements or bytes in host memory. A box counts from `bytes`.
  struct Elements {
    std::span<const std::byte> bytes;
    Box box;
  };

  // Groups that one read fetches, by where they go.
  void read_to_host(const Group& group);
  void read_to_device(const Group& group, Slot& slot);
  void read_to_check(const Group& group);
  std::span<std::byte> read_group(const Group& group, std::span<std::byte> buffer);
  // A single transfer.
  void move(std::uint32_t number);
  void copy_between_devices(const Transfer& t);
  Elements fetch(const Transfer& t, const Steps& steps);
  void gather(const Transfer& t, const Box& runs, std::uint64_t itemsize);
  void read(const Transfer& t, std::uint64_t offset, std::span<std::byte> bytes);
  void deliver_to_host(const Transfer& t, const Steps& steps, const Elements& in);
  void deliver_to_device(const Transfer& t, const Steps& steps, const Elements& in, Slot& slot);
  void deliver_to_file(const Transfer& t, const Steps& steps, const Elements& in);
  void write(const Transfer& t, std::uint64_t offset, std::span<const std::byte> bytes);
  std::span<std::byte> in_phase(std::span<std::byte> buffer, const Transfer& t) const;

  RunState& run_;
  Staging& staging_;
  Buffers buffers_;
  std::optional<PieceReader> reader_;
};

}  // namespace transload
