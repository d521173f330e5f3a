// Copies between tensors in memory, on any devices.
#include <algorithm>
#include <cstring>
#include <optional>

#include "device/backend.h"
#include "transfer/steps.h"
#include "transload/error.h"
#include "transload/tensor.h"
#include "plan/box.h"

namespace transload {
namespace {

constexpr std::uint64_t kStagingNbytes = 4 << 20;

bool on_host(const Tensor& tensor) { return tensor.device().kind == DeviceKind::cpu; }

std::string describe(const Tensor& tensor) {
  return std::string(name(tensor.dtype())) + " " + tensor.shape().str() + " on " +
         tensor.device().str();
}

// Bytes of a tensor's storage, between host memory and its device, one staging slot at a time.
class Reach {
 public:
  Reach(Device device, std::uint64_t nbytes) {
    if (device.kind == DeviceKind::cpu) return;
    Backend& backend = backend_for(device);
    staging_ = backend.allocate_staging(device, std::min(nbytes, kStagingNbytes));
    stream_ = backend.open_stream(device);
  }
  // Host memory for the next piece: to be filled by from_device() or by the caller.
  std::byte* staging() const { return staging_.data(); }
  void from_device(const std::byte* source, std::uint64_t nbytes) {
    stream_->to_host({staging_.data(), nbytes}, source);
    stream_->wait(stream_->mark());
  }
  void to_device(std::byte* target, const std::byte* from, std::uint64_t nbytes) {
    stream_->to_device(target, {from, nbytes});
  }
  CopyStream& stream() { return *stream_; }
  void wait() { stream_->wait(stream_->mark()); }

 private:
  Storage staging_;
  std::unique_ptr<CopyStream> stream_;
};

// Elements in order and dense on both sides: their bytes.
void copy_bytes(const Tensor& to, const Tensor& from, const Box& box) {
  std::byte* target = to.storage().data() + box.target_origin;
  const std::byte* source = from.storage().data() + box.source_origin;
  const std::uint64_t nbytes = numel(box) * itemsize(to.dtype());
  if (on_host(to) && on_host(from)) {
    std::memmove(target, source, nbytes);
    return;
  }
  if (!on_host(to) && !on_host(from)) {
    const auto stream = backend_for(to.device()).open_stream(to.device());
    stream->on_device(target, source, from.device(), nbytes);
    stream->wait(stream->mark());
    return;
  }
  Reach device(on_host(to) ? from.device() : to.device(), nbytes);
  for (std::uint64_t done = 0; done < nbytes; done += kStagingNbytes) {
    const std::uint64_t here = std::min(kStagingNbytes, nbytes - done);
    if (on_host(to)) {
      device.from_device(source + done, here);
      std::memcpy(target + done, device.staging(), here);
    } else {
      std::memcpy(device.staging(), source + done, here);
      device.to_device(target + done, device.staging(), here);
      device.wait();
    }
  }
}

// Elements that are cast or rearranged: each range through host memory.
void copy_elements(const Tensor& to, const Tensor& from, const Steps& steps) {
  const std::uint64_t whole = ~std::uint64_t{0} >> 1;
  const bool direct = on_host(to) && on_host(from);
  Reach source(from.device(), kStagingNbytes), target(to.device(), kStagingNbytes);
  for (const BoxRange& range : split(*steps.box, itemsize(from.dtype()), itemsize(to.dtype()),
                                     direct ? whole : kStagingNbytes)) {
    const std::byte* bytes = from.storage().data() + range.source_offset;
    if (!on_host(from)) {
      source.from_device(bytes, range.source_nbytes);
      bytes = source.staging();
    }
    std::byte* const storage = to.storage().data();
    if (on_host(to)) {
      convert_box(steps, range.first, range.numel, bytes, range.source_offset, storage);
      continue;
    }
    convert_box(steps, range.first, range.numel, bytes, range.source_offset, storage,
                target.stream(), {target.staging(), kStagingNbytes});
    target.wait();
  }
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
  Steps steps;
  steps.from = from.dtype();
  steps.to = to.dtype();
  steps.conj = from.conj != to.conj;
  steps.neg = from.neg != to.neg;
  steps.box = make_box(from, to);
  const bool same_elements = from.dtype() == to.dtype() && !steps.conj && !steps.neg;
  if (same_elements && is_dense(*steps.box)) return copy_bytes(to, from, *steps.box);
  copy_elements(to, from, steps);
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
