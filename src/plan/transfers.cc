#include "plan/transfers.h"

#include <algorithm>
#include <tuple>

#include "plan/box.h"
#include "plan/pieces.h"
#include "plan/plans.h"
#include "transload/error.h"
#include "types/checked.h"
#include "types/scalar.h"

namespace transload {
namespace {

constexpr std::uint64_t kPage = 4096, kAlignment = 64;

// Cuts `whole`: the first transfer has `first` bytes at most, the others a slot.
void cut(Plan& plan, const Transfer& whole, std::uint64_t first) {
  std::uint64_t from_size = 1, to_size = 1;
  if (whole.steps != Transfer::kAsIs) {
    from_size = itemsize(plan.steps[whole.steps].from);
    to_size = itemsize(plan.steps[whole.steps].to);
  }
  const std::uint64_t larger = std::max(from_size, to_size);
  std::uint64_t most = first / larger * from_size;
  for (std::uint64_t done = 0; done < whole.nbytes;) {
    Transfer part = whole;
    part.from.offset += done;
    part.to.offset += done / from_size * to_size;
    part.nbytes = std::min(most, whole.nbytes - done);
    plan.transfers.push_back(part);
    done += part.nbytes;
    most = plan.slot_nbytes / larger * from_size;
  }
}

// The box with elements that follow each other in the source, as far as cutting it is concerned.
Box packed(const Box& box) {
  Box copy = box;
  std::int64_t stride = 1;
  for (std::size_t d = box.shape.size(); d-- > 0;) {
    copy.source_stride[d] = stride;
    stride *= box.shape[d];
  }
  return copy;
}

std::vector<BoxRange> ranges_of(const Box& box, std::uint64_t from_size, std::uint64_t to_size,
                                std::uint64_t slot, BoxOrder order) {
  switch (order) {
    case BoxOrder::source:
      return split(box, from_size, to_size, slot);
    case BoxOrder::source_host:
      return split(packed(box), from_size, to_size, slot);
    case BoxOrder::target:
      return split(flipped(box), to_size, from_size, slot);
  }
  return {};
}

void sort(Plan& plan, const Index* index) {
  const auto order = [&](const Transfer& t) {
    if (t.to.kind == Place::Kind::file) return std::tuple(t.to.number, t.to.offset, t.first);
    if (t.from.kind != Place::Kind::file) return std::tuple(0u, std::uint64_t{0}, std::uint64_t{0});
    return std::tuple(t.from.number, stored(*index, t.reads).extent.offset, t.from.offset);
  };
  if (!std::ranges::is_sorted(plan.transfers, {}, order))
    std::ranges::stable_sort(plan.transfers, {}, order);
}

}  // namespace

Dtype dtype_of_size(std::uint64_t itemsize) {
  if (itemsize == 16) return Dtype::complex128;
  if (itemsize == 1 || itemsize == 2 || itemsize == 4 || itemsize == 8)
    return unit_dtype(static_cast<std::uint8_t>(itemsize));
  throw UnsupportedError("elements of " + std::to_string(itemsize) +
                         " bytes cannot be rearranged; no dtype has them");
}

std::string label_of(const Plan& plan, std::uint32_t label) {
  if (!plan.keys.empty()) return '"' + plan.keys[label] + '"';
  for (const NamedTensor& tensor : plan.contents.tensors()) {
    if (tensor.value.storage_number() != label) continue;
    const Tensor first = tensor.value.tensor();
    return '"' + tensor.name + "\" (" + std::string(name(first.dtype())) + " " +
           first.shape().str() + ")";
  }
  return "";
}

void add_in_order(Plan& plan, const Transfer& whole) { cut(plan, whole, plan.slot_nbytes); }

void add_paged(Plan& plan, const Transfer& whole) {
  cut(plan, whole, plan.slot_nbytes - whole.to.offset % kPage / kAlignment * kAlignment);
}

std::uint32_t add_steps(Plan& plan, Steps steps) {
  plan.steps.push_back(std::move(steps));
  return static_cast<std::uint32_t>(plan.steps.size() - 1);
}

void add_boxed(Plan& plan, const Transfer& whole, Steps steps, BoxOrder order) {
  steps.box = order == BoxOrder::target ? in_target_order(*steps.box) : in_source_order(*steps.box);
  const std::uint64_t from_size = itemsize(steps.from), to_size = itemsize(steps.to);
  const std::uint32_t number = add_steps(plan, std::move(steps));
  const Box& box = *plan.steps[number].box;
  for (const BoxRange& range : ranges_of(box, from_size, to_size, plan.slot_nbytes, order)) {
    const Box part = part_of(box, range.first, range.numel, from_size, to_size);
    const std::uint64_t span = source_span(part, from_size), elements = range.numel * from_size;
    Transfer transfer = whole;
    transfer.from.offset += part.source_origin;
    transfer.to.offset += part.target_origin;
    transfer.nbytes = span <= plan.slot_nbytes ? span : elements;
    transfer.first = range.first;
    transfer.numel = range.numel;
    transfer.steps = number;
    plan.transfers.push_back(transfer);
  }
}

void finish(Plan& plan, const Index* index, const IoOptions& io) {
  sort(plan, index);
  if (index) {
    for (const File& file : index->files) plan.inputs.push_back({file.name, How::cached, "", 0});
  }
  bool staged = false;
  std::uint64_t most = 0;  // bytes on either side of the steps
  for (const Transfer& t : plan.transfers) {
    std::uint64_t made = t.nbytes;
    if (t.steps != Transfer::kAsIs) {
      const Steps& steps = plan.steps[t.steps];
      made = (steps.box ? t.numel : t.nbytes / itemsize(steps.from)) * itemsize(steps.to);
    }
    plan.transfer_nbytes += t.nbytes;
    most += std::max(t.nbytes, made);
    if (t.from.kind == Place::Kind::file) plan.inputs[t.from.number].nbytes += t.nbytes;
    if (t.to.kind == Place::Kind::file) plan.outputs[t.to.number].nbytes += made;
    const auto on_host = [&](const Place& place) {
      return place.kind == Place::Kind::memory &&
             plan.memories[place.number].device.kind == DeviceKind::cpu;
    };
    const bool from_here = on_host(t.from) || (index && is_straight(t, *index));
    staged = staged || !(from_here && on_host(t.to));
  }
  if (!staged) return;
  const std::uint64_t useful = round_up(most, plan.slot_nbytes) * 2;
  plan.staging_nbytes = std::min(std::max(io.staging_nbytes, 2 * plan.slot_nbytes), useful);
}

}  // namespace transload
