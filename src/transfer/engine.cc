#include "transfer/engine.h"

#include <algorithm>
#include <map>

#include "device/backend.h"
#include "io/crc32.h"
#include "io/file.h"
#include "transfer/piece_reader.h"
#include "transfer/steps.h"
#include "transfer/verify.h"
#include "transfer/workers.h"
#include "plan/pieces.h"
#include "values/names.h"

namespace transload {
namespace {

// Small transfers whose bytes lie this close in the file are fetched by one read; what lies between is read over.
constexpr std::uint64_t kGap = 4 << 10;
constexpr std::size_t kMaxGroup = 256;
// How far ahead of what is read the disk is asked for more.
constexpr std::uint64_t kAhead = 32 << 20;

// A part of the staging memory. Between a copy's start and its mark the bytes belong to the device.
struct Slot {
  std::span<std::byte> bytes;
  CopyStream* stream = nullptr;  // that last copied from it
  std::uint64_t mark = 0;
  std::vector<std::uint32_t> transfers;  // that are under way from it
};

// The first tensor over a storage, or the storage, for errors.
std::string user_of(const Plan& plan, const Index& index, std::uint32_t storage) {
  const std::string user = first_user(plan.contents, storage);
  return user.empty() ? "storage \"" + index.storages[storage].key + '"' : user;
}

class Loader {
 public:
  Loader(const Plan& plan, const Index& index, std::span<const Storage> targets,
         const IoOptions& io, std::vector<Reached>& reached, std::vector<std::uint32_t>* crcs)
      : plan_(plan),
        index_(index),
        targets_(targets),
        io_(io),
        reached_(reached),
        crcs_(crcs) {
    threads_ = thread_count(io.threads);
    for (const DeviceNeed& need : plan.devices) {
      if (need.device.kind == DeviceKind::cpu || need.device.kind == DeviceKind::meta) continue;
      streams_.emplace(
          need.device,
          backend_for(need.device).open_stream(need.device, stream_of(io, need.device)));
    }
    make_slots();
  }

  void run() {
    std::exception_ptr error;
    try {
      run_workers(threads_, io_.progress, plan_.transfer_nbytes, done_nbytes_, stop_,
                  [this](int number) { work(number); });
    } catch (...) {
      error = std::current_exception();
    }
    for (Slot& slot : slots_) {
      try {
        settle(slot);
      } catch (const Error&) {
        if (!error) error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
  }

 private:
  struct Group {
    std::uint32_t begin = 0, end = 0;              // of plan_.transfers
    std::uint32_t ahead_begin = 0, ahead_end = 0;  // those to ask the disk for meanwhile
  };

  const Transfer& transfer(std::uint32_t t) const { return plan_.transfers[t]; }
  std::uint64_t file_offset(const Transfer& t) const {
    return index_.pieces[t.piece].extent.offset + t.piece_offset;
  }
  std::uint32_t file_of(const Transfer& t) const { return index_.pieces[t.piece].extent.file; }
  Device device_of(const Transfer& t) const { return plan_.targets[t.target].device; }
  bool straight(const Transfer& t) const { return goes_straight(t, index_); }

  // Staging: slots that devices copy from, and for each thread one where bytes wait to be converted.
  void make_slots() {
    bool converts = false;
    for (const Transfer& t : plan_.transfers) converts = converts || !straight(t);
    const std::uint64_t in_all =
        std::max<std::uint64_t>(plan_.staging_nbytes / plan_.slot_nbytes, 2);
    if (converts) {
      threads_ = static_cast<int>(
          std::min<std::uint64_t>(static_cast<std::uint64_t>(threads_), in_all / 2));
      raw_ = backend_for(kCpu).allocate_staging(
          kCpu, static_cast<std::uint64_t>(threads_) * plan_.slot_nbytes);
    }
    if (streams_.empty()) return;
    const std::uint64_t count =
        std::max<std::uint64_t>(in_all - (converts ? static_cast<std::uint64_t>(threads_) : 0), 1);
    const Device device = streams_.begin()->first;
    staging_ = backend_for(device).allocate_staging(device, count * plan_.slot_nbytes);
    slots_.resize(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      slots_[i].bytes = {staging_.data() + i * plan_.slot_nbytes, plan_.slot_nbytes};
      free_.push_back(&slots_[i]);
    }
  }

  // Transfers that one read fetches: those that follow each other in a file, to one kind of place.
  Group next_group() {
    const std::lock_guard lock(mutex_);
    const auto count = static_cast<std::uint32_t>(plan_.transfers.size());
    if (next_ == count) return {};
    Group group{next_, next_ + 1};
    const Transfer& first = transfer(next_);
    std::uint64_t end = file_offset(first) + first.nbytes;
    while (straight(first) && group.end < count && group.end - group.begin < kMaxGroup) {
      const Transfer& t = transfer(group.end);
      const std::uint64_t offset = file_offset(t);
      if (!straight(t) || file_of(t) != file_of(first) || device_of(t) != device_of(first) ||
          offset < end || offset - end > kGap ||
          offset + t.nbytes - file_offset(first) > plan_.slot_nbytes) {
        break;
      }
      end = offset + t.nbytes;
      ++group.end;
    }
    next_ = group.end;
    group.ahead_begin = ahead_;
    for (std::uint32_t t = group.begin; t < group.end; ++t) read_nbytes_ += transfer(t).nbytes;
    while (ahead_ < count && ahead_nbytes_ < read_nbytes_ + kAhead)
      ahead_nbytes_ += transfer(ahead_++).nbytes;
    group.ahead_end = ahead_;
    return group;
  }

  // One call for what lies together. Where a deflated piece is read from, nobody knows before.
  void read_ahead(const Group& group) const {
    for (std::uint32_t t = group.ahead_begin; t < group.ahead_end;) {
      const Transfer& first = transfer(t++);
      if (index_.pieces[first.piece].encoding != Encoding::as_is) continue;
      const std::uint64_t begin = file_offset(first);
      std::uint64_t end = begin + first.nbytes;
      for (; t < group.ahead_end && file_of(transfer(t)) == file_of(first); ++t) {
        const std::uint64_t next = file_offset(transfer(t));
        if (next < begin || next > end + kGap || end - begin >= plan_.slot_nbytes) break;
        end = std::max(end, next + transfer(t).nbytes);
      }
      if (end > begin) index_.files[file_of(first)].source->prefetch(begin, end - begin);
    }
  }

  void work(int number) {
    PieceReader reader(index_);
    while (!stop_) {
      const Group group = next_group();
      if (group.begin == group.end) return;
      read_ahead(group);
      // Waits for copies of other transfers, so that what fails here is not this one's fault.
      Slot* const slot = on_host(group) ? nullptr : &take_slot(device_of(transfer(group.begin)));
      for (std::uint32_t t = group.begin; t < group.end; ++t) reached_[t] = Reached::begun;
      try {
        std::byte* const raw = raw_.data() + static_cast<std::uint64_t>(number) * plan_.slot_nbytes;
        carry_out(group, slot, reader, raw);
      } catch (Error& error) {
        add_key(error, group.begin);
        give_up(slot);
        throw;
      } catch (...) {
        give_up(slot);
        throw;
      }
      if (slot) give_back(*slot);
      for (std::uint32_t t = group.begin; t < group.end; ++t) done_nbytes_ += transfer(t).nbytes;
    }
  }

  // Who is told of a failure wants to know which tensor it was.
  void add_key(Error& error, std::uint32_t number) const {
    const Transfer& t = transfer(number);
    error.add("for " +
              (plan_.keys.empty() ? user_of(plan_, index_, t.fills)
                                  : '"' + plan_.keys[t.fills] + '"') +
              ", " + std::to_string(t.nbytes) + " bytes to " + device_of(t).str());
  }

  void read_to_host(Group group) {
    std::byte gap[kGap];
    std::vector<std::span<std::byte>> parts;
    std::uint64_t at = file_offset(transfer(group.begin));
    for (std::uint32_t t = group.begin; t < group.end; ++t) {
      const Transfer& one = transfer(t);
      if (const std::uint64_t between = file_offset(one) - at) parts.push_back(std::span(gap).first(between));
      parts.push_back({targets_[one.target].data() + one.target_offset, one.nbytes});
      at = file_offset(one) + one.nbytes;
    }
    index_.files[file_of(transfer(group.begin))].source->read(file_offset(transfer(group.begin)),
                                                              parts);
    for (std::uint32_t t = group.begin; crcs_ && t < group.end; ++t) {
      const Transfer& one = transfer(t);
      check(t, {targets_[one.target].data() + one.target_offset, one.nbytes});
    }
    for (std::uint32_t t = group.begin; t < group.end; ++t) reached_[t] = Reached::done;
  }

  void read_to_slot(Group group, Slot& slot) {
    const Transfer &first = transfer(group.begin), &last = transfer(group.end - 1);
    const std::uint64_t begin = file_offset(first),
                        nbytes = file_offset(last) + last.nbytes - begin;
    read_at(index_.files[file_of(first)], begin, slot.bytes.first(nbytes));
    for (std::uint32_t t = group.begin; crcs_ && t < group.end; ++t)
      check(t, slot.bytes.subspan(file_offset(transfer(t)) - begin, transfer(t).nbytes));
    for (std::uint32_t t = group.begin; t < group.end;) {
      // What lies together on both sides is one copy.
      const Transfer& one = transfer(t);
      std::uint64_t together = one.nbytes;
      std::uint32_t next = t + 1;
      while (next < group.end && transfer(next).target == one.target &&
             file_offset(transfer(next)) == file_offset(one) + together &&
             transfer(next).target_offset == one.target_offset + together) {
        together += transfer(next++).nbytes;
      }
      slot.stream->to_device(targets_[one.target].data() + one.target_offset,
                             slot.bytes.subspan(file_offset(one) - begin, together));
      for (; t < next; ++t) slot.transfers.push_back(t);
    }
  }

  // The checksum of a transfer's bytes as the file has them; run_load puts those of a piece together.
  void check(std::uint32_t number, std::span<const std::byte> bytes) {
    if (crcs_) (*crcs_)[number] = crc32_of(bytes);
  }

  // Bytes that are inflated, swapped, cast or rearranged: read, then converted into place, or into a slot and from there.
  void convert_one(std::uint32_t number, PieceReader& reader, std::byte* raw, Slot* slot) {
    static const Steps kNone;
    const Transfer& t = transfer(number);
    const Steps& steps = t.steps == Transfer::kAsIs ? kNone : plan_.steps[t.steps];
    reader.read(t.piece, t.piece_offset, {raw, t.nbytes});
    check(number, {raw, t.nbytes});
    std::byte* const target = targets_[t.target].data();
    if (slot) slot->transfers.push_back(number);
    if (steps.box && slot) {
      convert_box(steps, t.first, t.numel, raw, t.piece_offset, target, *slot->stream, slot->bytes);
    } else if (steps.box) {
      convert_box(steps, t.first, t.numel, raw, t.piece_offset, target);
    } else {
      const std::uint64_t count = t.nbytes / itemsize(steps.from);
      convert(steps, raw, 1, slot ? slot->bytes.data() : target + t.target_offset, 1, count);
      if (slot) {
        slot->stream->to_device(target + t.target_offset,
                                slot->bytes.first(count * itemsize(steps.to)));
      }
    }
    if (!slot) reached_[number] = Reached::done;
  }

  void carry_out(const Group& group, Slot* slot, PieceReader& reader, std::byte* raw) {
    if (!straight(transfer(group.begin)))
      convert_one(group.begin, reader, raw, slot);
    else if (slot)
      read_to_slot(group, *slot);
    else
      read_to_host(group);
    if (slot) slot->mark = slot->stream->mark();
  }

  bool on_host(const Group& group) const {
    return device_of(transfer(group.begin)).kind == DeviceKind::cpu;
  }

  // The slot that has waited longest for its copies; they are done when this returns.
  Slot& take_slot(Device device) {
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

  void give_back(Slot& slot) {
    const std::lock_guard lock(mutex_);
    free_.push_back(&slot);
    returned_.notify_one();
  }

  // Of a slot whose transfers failed: how far they came, nobody knows.
  void give_up(Slot* slot) {
    if (!slot) return;
    slot->transfers.clear();
    give_back(*slot);
  }

  // Waits for the copies from a slot. If one fails, it is that transfer's key that is told.
  void settle(Slot& slot) {
    CopyStream* const stream = slot.stream;
    if (!stream) return;
    slot.stream = nullptr;
    const std::vector<std::uint32_t> under_way = std::move(slot.transfers);
    slot.transfers.clear();
    const std::uint64_t mark = slot.mark;
    slot.mark = 0;
    try {
      stream->wait(mark ? mark : stream->mark());
    } catch (Error& error) {
      if (!under_way.empty()) add_key(error, under_way.front());
      throw;
    }
    for (const std::uint32_t t : under_way) reached_[t] = Reached::done;
  }

  const Plan& plan_;
  const Index& index_;
  std::span<const Storage> targets_;
  const IoOptions& io_;
  std::vector<Reached>& reached_;
  std::vector<std::uint32_t>* crcs_;  // by transfer; null: nobody asks
  int threads_ = 1;
  Storage raw_, staging_;
  std::vector<Slot> slots_;
  // gone, and so waited for, before staging_
  std::map<Device, std::unique_ptr<CopyStream>> streams_;
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<Slot*> free_;
  std::uint32_t next_ = 0, ahead_ = 0;                // transfers: to read, to ask the disk for
  std::uint64_t read_nbytes_ = 0, ahead_nbytes_ = 0;  // of the transfers before
  std::atomic<std::uint64_t> done_nbytes_ = 0;
  std::atomic<bool> stop_ = false;
};

}  // namespace

std::uintptr_t stream_of(const IoOptions& io, Device device) {
  for (const auto& [of, stream] : io.streams) {
    if (of == device) return stream;
  }
  return 0;
}

std::vector<Storage> allocate_targets(const Plan& plan, const Index& index,
                                      const AllocateFunction& allocate_one) {
  std::vector<Storage> targets;
  targets.reserve(plan.targets.size());
  for (const Target& target : plan.targets) {
    try {
      targets.push_back(target.existing      ? *target.existing
                        : target.mapped_file ? map_file(index.files[*target.mapped_file])
                        : allocate_one       ? allocate_one(target.device, target.nbytes)
                                             : allocate(target.device, target.nbytes));
    } catch (Error& error) {
      const auto of_target = [&](const Placement& p) { return p.target == targets.size(); };
      const auto first = std::find_if(plan.placements.begin(), plan.placements.end(), of_target);
      const auto count = std::count_if(first, plan.placements.end(), of_target);
      if (count > 0) {
        const auto number = static_cast<std::uint32_t>(first - plan.placements.begin());
        error.add("for " + user_of(plan, index, number) +
                  (count > 1 ? " and " + std::to_string(count - 1) + " more storages" : ""));
      }
      throw;
    }
  }
  return targets;
}

void run_load(const Plan& plan, const Index& index, std::span<const Storage> targets,
              const IoOptions& io, std::vector<Reached>* reached) {
  std::vector<Reached> own;
  std::vector<Reached>& states = reached ? *reached : own;
  states.assign(plan.transfers.size(), Reached::untouched);
  if (plan.transfers.empty()) return;
  Loader(plan, index, targets, io, states, nullptr).run();
}

void run_verified_load(const Plan& plan, const Index& index, std::span<const Storage> targets,
                       const IoOptions& io) {
  std::vector<Reached> reached(plan.transfers.size(), Reached::untouched);
  std::vector<std::uint32_t> crcs(plan.transfers.size());
  if (!plan.transfers.empty()) Loader(plan, index, targets, io, reached, &crcs).run();
  // Transfers of one piece stand together, ascending, and a load's cover it.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> found;
  for (std::size_t t = 0; t < plan.transfers.size(); ++t) {
    const Transfer& one = plan.transfers[t];
    if (found.empty() || found.back().first != one.piece) {
      found.emplace_back(one.piece, crcs[t]);
    } else {
      found.back().second = crc32_joined(found.back().second, crcs[t], one.nbytes);
    }
  }
  require_checksums(index, found);
  std::vector<std::uint32_t> mapped;
  for (std::uint32_t p = 0; p < index.pieces.size(); ++p) {
    const std::uint32_t target = plan.placements[index.pieces[p].storage].target;
    if (target != Placement::kNowhere && plan.targets[target].mapped_file) mapped.push_back(p);
  }
  verify_pieces(index, mapped, io);
}

}  // namespace transload
