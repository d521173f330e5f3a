// New tensors, and copies from one to another on any devices.
#include <cstring>

#include "plan/plans.h"
#include "transfer/engine.h"
#include "transfer/memories.h"
#include "transload/error.h"
#include "transload/tensor.h"

namespace transload {
namespace {

std::string describe(const Tensor& tensor) {
  return std::string(name(tensor.dtype())) + " " + tensor.shape().str() + " on " +
         tensor.device().str();
}

}  // namespace

void copy(const Tensor& to, const Tensor& from) {
  if (to.shape() != from.shape()) {
    throw MismatchError("copying " + describe(from) + " to " + describe(to) +
                        ": the shapes differ");
  }
  if (to.device().kind == DeviceKind::meta || to.numel() == 0) return;
  if (from.device().kind == DeviceKind::meta) {
    throw Error("copying " + describe(from) + " to " + describe(to) +
                ": there are no bytes on meta");
  }
  if (to.dtype() != from.dtype() && !can_cast(from.dtype(), to.dtype())) {
    throw UnsupportedError("copying " + describe(from) + " to " + describe(to) + ": no such cast");
  }
  if (info(to.dtype()).bits < 8) {
    throw UnsupportedError("copying " + describe(from) +
                           ": elements smaller than a byte cannot be copied one by one");
  }
  // In this thread: the staging is what the header promises.
  const IoOptions io{.staging_nbytes = 4 << 20, .threads = 1};
  const Matches one{{{"", from, to, 0}}, {}};
  Plan plan = plan_copy(one, io);
  plan.keys.clear();  // nothing that an error could call it by
  const std::vector<Storage> memories = memories_of(plan);
  Outcome outcome;
  run(plan, {.memories = memories}, io, outcome);
}

Tensor empty(Dims shape, Dtype dtype, Device device) {
  std::uint64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 0) throw Error("a shape of " + shape.str() + ": sizes may not be negative");
    if (__builtin_mul_overflow(count, static_cast<std::uint64_t>(size), &count) || count >> 58) {
      throw Error("a shape of " + shape.str() + " has too many elements");
    }
  }
  Dims stride = contiguous_strides(shape);
  return {allocate(device, (count * info(dtype).bits + 7) / 8), dtype, std::move(shape),
          std::move(stride)};
}

Tensor zeros(Dims shape, Dtype dtype, Device device) {
  const Tensor made = empty(shape, dtype, device);
  if (device.kind == DeviceKind::meta || made.nbytes() == 0) return made;
  const Tensor on_cpu =
      device.kind == DeviceKind::cpu ? made : empty(std::move(shape), dtype, kCpu);
  std::memset(on_cpu.data(), 0, on_cpu.nbytes());
  if (device.kind != DeviceKind::cpu) copy(made, on_cpu);
  return made;
}

Tensor from_values(std::span<const float> values, Dims shape) {
  const Tensor made = empty(std::move(shape), Dtype::float32);
  if (static_cast<std::uint64_t>(made.numel()) != values.size()) {
    throw Error(std::to_string(values.size()) + " values do not make a tensor of shape " +
                made.shape().str());
  }
  if (!values.empty()) std::memcpy(made.data(), values.data(), values.size_bytes());
  return made;
}

Tensor to(const Tensor& tensor, Device device) {
  if (tensor.device() == device) return tensor;
  Tensor made = empty(tensor.shape(), tensor.dtype(), device);
  copy(made, tensor);
  made.requires_grad = tensor.requires_grad;
  made.is_parameter = tensor.is_parameter;
  return made;
}

std::vector<std::byte> element_bytes(const Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.nbytes());
  const Storage over(kCpu, bytes.data(), bytes.size(), nullptr);
  if (!bytes.empty()) {
    Tensor as_stored = tensor;
    as_stored.conj = as_stored.neg = false;
    copy(Tensor(over, tensor.dtype(), tensor.shape(), contiguous_strides(tensor.shape())),
         as_stored);
  }
  return bytes;
}

}  // namespace transload
