#include "transfer/mover.h"

#include <array>
#include <cstring>

#include "plan/box.h"
#include "plan/plans.h"
#include "transfer/steps.h"
#include "transload/error.h"

namespace transload {
namespace {

const Steps kAsTheyAre;

bool is_memory(const Place& place) { return place.kind == Place::Kind::memory; }
bool is_file(const Place& place) { return place.kind == Place::Kind::file; }

// Whether the runs of a box are stretches on both sides, as one call moves them; else single elements are.
bool runs_are_dense(const Box& box) {
  return box.shape.empty() || (box.source_stride[box.shape.size() - 1] == 1 &&
                               box.target_stride[box.shape.size() - 1] == 1);
}

// Calls run(source, target, count), in elements from the origins, for the longest stretches of a box.
template <class Run>
void for_each_stretch(const Box& box, const Run& run) {
  const bool dense = runs_are_dense(box);
  const std::size_t n = box.shape.size();
  for_each_run(box, 0, numel(box),
               [&](std::int64_t source, std::int64_t target, std::int64_t count) {
                 if (dense) return run(source, target, count);
                 for (std::int64_t i = 0; i < count; ++i)
                   run(source + i * box.source_stride[n - 1], target + i * box.target_stride[n - 1],
                       std::int64_t{1});
               });
}

}  // namespace

Mover::Mover(RunState& run, Staging& staging, int thread)
    : run_(run), staging_(staging), buffers_(staging.buffers(thread)) {
  if (run.ends.index) reader_.emplace(*run.ends.index);
}

void Mover::carry_out(const Group& group) {
  if (!group.together) {
    for (std::uint32_t t = group.begin; t < group.end && !run_.stop; ++t) move(t);
    return;
  }
  const Place& to = run_.transfer(group.begin).to;
  Slot* const slot = run_.is_on_device(to) ? &staging_.take_slot(run_.device(to)) : nullptr;
  for (std::uint32_t t = group.begin; t < group.end; ++t) run_.set_reached(t, Reached::begun);
  try {
    if (slot)
      read_to_device(group, *slot);
    else if (is_memory(to))
      read_to_host(group);
    else
      read_to_check(group);
  } catch (...) {
    if (slot) staging_.give_up(*slot);
    try {
      throw;
    } catch (Error& error) {
      run_.name_transfer(error, group.begin);
      throw;
    }
  }
  if (slot) return staging_.give_back(*slot);
  for (std::uint32_t t = group.begin; t < group.end; ++t) run_.set_reached(t, Reached::done);
}

void Mover::read_to_host(const Group& group) {
  std::array<std::byte, kMaxGap> gap;
  std::vector<std::span<std::byte>> parts;
  const Transfer& first = run_.transfer(group.begin);
  std::uint64_t at = first.from.offset;
  for (std::uint32_t n = group.begin; n < group.end; ++n) {
    const Transfer& t = run_.transfer(n);
    if (t.from.offset > at) parts.push_back(std::span(gap).first(t.from.offset - at));
    parts.push_back({run_.address(t.to), t.nbytes});
    at = t.from.offset + t.nbytes;
  }
  run_.ends.index->files[first.from.number].source->read(first.from.offset, parts);
  for (std::uint32_t n = group.begin; n < group.end; ++n) {
    const Transfer& t = run_.transfer(n);
    run_.sum_read(t, t.from.offset, {run_.address(t.to), t.nbytes});
  }
}

// All bytes from the first transfer's to the last one's.
std::span<std::byte> Mover::read_group(const Group& group, std::span<std::byte> buffer) {
  const Transfer &first = run_.transfer(group.begin), &last = run_.transfer(group.end - 1);
  const std::span<std::byte> bytes =
      buffer.first(last.from.offset + last.nbytes - first.from.offset);
  run_.ends.index->files[first.from.number].source->read(first.from.offset, {&bytes, 1});
  for (std::uint32_t n = group.begin; n < group.end; ++n) {
    const Transfer& t = run_.transfer(n);
    run_.sum_read(t, t.from.offset, bytes.subspan(t.from.offset - first.from.offset, t.nbytes));
  }
  return bytes;
}

void Mover::read_to_check(const Group& group) { read_group(group, buffers_.in); }

void Mover::read_to_device(const Group& group, Slot& slot) {
  const std::uint64_t begin = run_.transfer(group.begin).from.offset;
  const std::span<std::byte> bytes = read_group(group, slot.bytes);
  for (std::uint32_t n = group.begin; n < group.end;) {
    // What lies together on both sides is one copy.
    const Transfer& t = run_.transfer(n);
    std::uint64_t together = t.nbytes;
    std::uint32_t next = n + 1;
    for (; next < group.end; ++next) {
      const Transfer& behind = run_.transfer(next);
      if (behind.to.number != t.to.number || behind.from.offset != t.from.offset + together ||
          behind.to.offset != t.to.offset + together)
        break;
      together += behind.nbytes;
    }
    slot.stream->to_device(run_.address(t.to), bytes.subspan(t.from.offset - begin, together));
    for (; n < next; ++n) slot.transfers.push_back(n);
  }
  slot.mark = slot.stream->mark();
}

void Mover::move(std::uint32_t number) {
  const Transfer& t = run_.transfer(number);
  const Steps& steps = t.steps == Transfer::kAsIs ? kAsTheyAre : run_.plan.steps[t.steps];
  const bool between_devices =
      run_.is_on_device(t.from) && run_.is_on_device(t.to) && t.steps == Transfer::kAsIs;
  Slot* const slot = run_.is_on_device(t.to) && !between_devices
                         ? &staging_.take_slot(run_.device(t.to))
                         : nullptr;
  run_.set_reached(number, Reached::begun);
  try {
    if (between_devices) {
      copy_between_devices(t);
    } else {
      const Elements in = fetch(t, steps);
      if (slot)
        slot->transfers.push_back(number), deliver_to_device(t, steps, in, *slot);
      else if (is_memory(t.to))
        deliver_to_host(t, steps, in);
      else if (is_file(t.to))
        deliver_to_file(t, steps, in);
    }
  } catch (...) {
    if (slot) staging_.give_up(*slot);
    try {
      throw;
    } catch (Error& error) {
      run_.name_transfer(error, number);
      throw;
    }
  }
  if (slot) return staging_.give_back(*slot);
  run_.set_reached(number, Reached::done);
}

void Mover::copy_between_devices(const Transfer& t) {
  CopyStream& stream = staging_.stream(run_.device(t.to));
  stream.on_device(run_.address(t.to), run_.address(t.from), run_.device(t.from), t.nbytes);
  stream.wait(stream.mark());
}

// The transfer's bytes in host memory: where they are, or in the buffer `in`.
Mover::Elements Mover::fetch(const Transfer& t, const Steps& steps) {
  Elements in;
  const std::uint64_t size = itemsize(steps.from);
  if (steps.box) {
    in.box = part_of(*steps.box, t.first, t.numel, size, itemsize(steps.to));
    in.box.source_origin = in.box.target_origin = 0;
  }
  if (is_memory(t.from) && !run_.is_on_device(t.from)) {
    in.bytes = {run_.address(t.from), t.nbytes};
    return in;
  }
  if (steps.box && t.nbytes < source_span(in.box, size)) {
    ByBuffer by = by_source_buffer(in.box);
    gather(t, by.gather, size);
    in.box = std::move(by.rest);
    in.bytes = buffers_.in.first(t.nbytes);
    return in;
  }
  const std::span<std::byte> bytes =
      steps.box ? buffers_.in.first(t.nbytes) : in_phase(buffers_.in, t).first(t.nbytes);
  read(t, 0, bytes);
  if (run_.is_on_device(t.from)) {
    CopyStream& stream = staging_.stream(run_.device(t.from));
    stream.wait(stream.mark());
  } else {
    run_.sum_read(t, t.from.offset, bytes);
  }
  in.bytes = bytes;
  return in;
}

// Elements between which other bytes lie, side by side into the buffer `in`.
void Mover::gather(const Transfer& t, const Box& runs, std::uint64_t itemsize) {
  for_each_stretch(runs, [&](std::int64_t from, std::int64_t to, std::int64_t count) {
    read(t, static_cast<std::uint64_t>(from) * itemsize,
         buffers_.in.subspan(static_cast<std::uint64_t>(to) * itemsize,
                             static_cast<std::uint64_t>(count) * itemsize));
  });
  if (!run_.is_on_device(t.from)) return;
  CopyStream& stream = staging_.stream(run_.device(t.from));
  stream.wait(stream.mark());
}

// Bytes from so far behind the transfer's first one. Those of a device are there when its stream was waited for.
void Mover::read(const Transfer& t, std::uint64_t offset, std::span<std::byte> bytes) {
  if (is_memory(t.from))
    return staging_.stream(run_.device(t.from)).to_host(bytes, run_.address(t.from) + offset);
  const std::uint64_t begin = t.reads < run_.ends.index->pieces.size()
                                  ? run_.ends.index->pieces[t.reads].extent.offset
                                  : t.from.offset;
  reader_->read(t.reads, t.from.offset - begin + offset, bytes);
}

void Mover::deliver_to_host(const Transfer& t, const Steps& steps, const Elements& in) {
  std::byte* const target = run_.address(t.to);
  if (steps.box)
    convert_box(steps, in.box, in.bytes.data(), target);
  else if (t.steps == Transfer::kAsIs)
    std::memmove(target, in.bytes.data(), in.bytes.size());
  else
    convert(steps, in.bytes.data(), 1, target, 1, t.nbytes / itemsize(steps.from));
}

void Mover::deliver_to_device(const Transfer& t, const Steps& steps, const Elements& in,
                              Slot& slot) {
  std::byte* const target = run_.address(t.to);
  if (steps.box) {
    convert_box(steps, in.box, in.bytes.data(), target, *slot.stream, slot.bytes);
  } else {
    const std::uint64_t count = t.nbytes / itemsize(steps.from);
    convert(steps, in.bytes.data(), 1, slot.bytes.data(), 1, count);
    slot.stream->to_device(target, slot.bytes.first(count * itemsize(steps.to)));
  }
  slot.mark = slot.stream->mark();
}

void Mover::deliver_to_file(const Transfer& t, const Steps& steps, const Elements& in) {
  if (steps.box) {
    // To the buffer in the order of the file, and from there in the longest stretches there are.
    ByBuffer by = by_source_buffer(flipped(in.box));
    const std::span<std::byte> out = in_phase(buffers_.out, t);
    const std::uint64_t size = itemsize(steps.to);
    convert_box(steps, flipped(by.rest), in.bytes.data(), out.data());
    for_each_stretch(by.gather,
                     [&](std::int64_t in_file, std::int64_t in_buffer, std::int64_t count) {
                       write(t, t.to.offset + static_cast<std::uint64_t>(in_file) * size,
                             out.subspan(static_cast<std::uint64_t>(in_buffer) * size,
                                         static_cast<std::uint64_t>(count) * size));
                     });
  } else if (t.steps == Transfer::kAsIs) {
    const bool aligned = run_.plan.outputs[t.to.number].how == How::direct &&
                         t.nbytes >= kLeastDirect && is_memory(t.from) &&
                         !run_.is_on_device(t.from);
    if (!aligned) return write(t, t.to.offset, in.bytes);
    const std::span<std::byte> copy = in_phase(buffers_.in, t).first(t.nbytes);
    std::memcpy(copy.data(), in.bytes.data(), copy.size());
    write(t, t.to.offset, copy);
  } else {
    const std::uint64_t count = t.nbytes / itemsize(steps.from);
    const std::span<std::byte> out = in_phase(buffers_.out, t).first(count * itemsize(steps.to));
    convert(steps, in.bytes.data(), 1, out.data(), 1, count);
    write(t, t.to.offset, out);
  }
}

void Mover::write(const Transfer& t, std::uint64_t offset, std::span<const std::byte> bytes) {
  run_.sum_written(t, offset, bytes);
  const Output& file = *run_.ends.files[t.to.number];
  if (run_.plan.outputs[t.to.number].how == How::direct && bytes.size() >= kLeastDirect)
    file.write_direct(offset, bytes);
  else
    file.write(offset, bytes);
}

// A part of the buffer that lies as far behind a page's beginning as the transfer's bytes will in the file, which then
// takes them without another copy.
std::span<std::byte> Mover::in_phase(std::span<std::byte> buffer, const Transfer& t) const {
  return is_file(t.to) ? buffer.subspan(t.to.offset % Staging::kPage) : buffer;
}

}  // namespace transload
