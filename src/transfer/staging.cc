#include "transfer/staging.h"

#include <algorithm>
#include <exception>
#include <set>
#include <utility>

#include "plan/pieces.h"
#include "transfer/workers.h"
#include "transload/error.h"

namespace transload {
namespace {

// So little is done sooner than another thread has started.
constexpr std::uint64_t kLittle = 1 << 20;
constexpr std::size_t kFew = 256;

}  // namespace

std::uintptr_t stream_of(const IoOptions& io, Device device) {
  for (const auto& [of, stream] : io.streams) {
    if (of == device) return stream;
  }
  return 0;
}

Staging::Staging(RunState& run) : run_(run), needs_(examine()) {
  const Plan& plan = run.plan;
  const std::uint64_t slots =
      std::max<std::uint64_t>(plan.staging_nbytes / plan.slot_nbytes, 2);  // in all
  const std::uint64_t each = std::uint64_t{needs_.in} + std::uint64_t{needs_.out};
  const bool is_little = plan.transfer_nbytes <= kLittle && plan.transfers.size() <= kFew;
  auto threads = static_cast<std::uint64_t>(is_little ? 1 : thread_count(run.io.threads));
  threads = std::min<std::uint64_t>(threads, plan.transfers.size());
  if (each > 0) threads = std::min(threads, slots / (needs_.slots ? 2 : each));
  threads = std::max<std::uint64_t>(threads, 1);
  threads_ = static_cast<int>(threads);
  if (each > 0) {
    buffer_nbytes_ = plan.slot_nbytes + (plan.outputs.empty() ? 0 : kPage);
    buffers_ =
        backend_for(needs_.source).allocate_staging(needs_.source, threads * each * buffer_nbytes_);
  }
  open_streams();
  if (!needs_.slots) return;
  slots_.resize(std::max<std::uint64_t>(slots - std::min(slots, threads * each), 1));
  const Device device = needs_.target;
  slot_memory_ = backend_for(device).allocate_staging(device, slots_.size() * plan.slot_nbytes);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].bytes = {slot_memory_.data() + i * plan.slot_nbytes, plan.slot_nbytes};
    free_.push_back(&slots_[i]);
  }
}

Staging::Needs Staging::examine() {
  Needs needs;
  for (const Transfer& t : run_.plan.transfers) {
    const bool from_device = run_.is_on_device(t.from), to_device = run_.is_on_device(t.to);
    if (from_device && to_device && t.steps == Transfer::kAsIs) continue;  // nothing is staged
    const bool to_file = t.to.kind == Place::Kind::file;
    const bool straight = run_.ends.index && is_straight(t, *run_.ends.index);
    const bool reads = t.from.kind == Place::Kind::file;
    needs.slots = needs.slots || to_device;
    needs.in = needs.in || from_device ||
               (reads && (!straight || t.to.kind != Place::Kind::memory)) ||
               (to_file && run_.plan.outputs[t.to.number].how == How::direct);
    needs.out = needs.out || (to_file && t.steps != Transfer::kAsIs);
    const auto lowest = [&](Device& device, const Place& place) {
      device = device == kCpu ? run_.device(place) : std::min(device, run_.device(place));
    };
    if (from_device) lowest(needs.source, t.from);
    if (to_device) lowest(needs.target, t.to);
  }
  return needs;
}

void Staging::open_streams() {
  std::set<Device> read_by_another;
  for (const Transfer& t : run_.plan.transfers) {
    if (run_.is_on_device(t.from) && run_.is_on_device(t.to))
      read_by_another.insert(run_.device(t.from));
    for (const Place* place : {&t.from, &t.to}) {
      if (!run_.is_on_device(*place)) continue;
      const Device device = run_.device(*place);
      auto& stream = streams_[device];
      if (!stream) stream = backend_for(device).open_stream(device, stream_of(run_.io, device));
    }
  }
  // A copy between two GPUs runs on the target's stream: what the source's one waits for has to be done before.
  if (streams_.size() < 2) return;
  for (const Device device : read_by_another) stream(device).wait(stream(device).mark());
}

Buffers Staging::buffers(int thread) const {
  const std::uint64_t each = std::uint64_t{needs_.in} + std::uint64_t{needs_.out};
  if (each == 0) return {};
  std::byte* at = buffers_.data() + static_cast<std::uint64_t>(thread) * each * buffer_nbytes_;
  Buffers buffers;
  if (needs_.in) buffers.in = {std::exchange(at, at + buffer_nbytes_), buffer_nbytes_};
  if (needs_.out) buffers.out = {at, buffer_nbytes_};
  return buffers;
}

Slot& Staging::take_slot(Device device) {
  std::unique_lock lock(mutex_);
  returned_.wait(lock, [&] { return !free_.empty(); });
  Slot* slot = free_.front();
  free_.erase(free_.begin());
  lock.unlock();
  try {
    settle(*slot);
  } catch (...) {
    give_back(*slot);
    throw;
  }
  slot->stream = streams_.at(device).get();
  return *slot;
}

void Staging::give_back(Slot& slot) {
  const std::lock_guard lock(mutex_);
  free_.push_back(&slot);
  returned_.notify_one();
}

void Staging::give_up(Slot& slot) {
  slot.transfers.clear();
  give_back(slot);
}

void Staging::settle(Slot& slot) {
  CopyStream* const stream = std::exchange(slot.stream, nullptr);
  if (!stream) return;
  const std::vector<std::uint32_t> under_way = std::exchange(slot.transfers, {});
  const std::uint64_t mark = std::exchange(slot.mark, 0);
  try {
    stream->wait(mark ? mark : stream->mark());
  } catch (Error& error) {
    if (!under_way.empty()) run_.name_transfer(error, under_way.front());
    throw;
  }
  for (const std::uint32_t t : under_way) run_.set_reached(t, Reached::done);
}

void Staging::settle_all() {
  std::exception_ptr first;
  for (Slot& slot : slots_) {
    try {
      settle(slot);
    } catch (const Error&) {
      if (!first) first = std::current_exception();
    }
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace transload
