// Dims and Tensor: shapes, strides, and the check that every element lies inside its storage.
// Formats rely on that check for the tensors of untrusted files.
#include "transload/tensor.h"

#include <algorithm>
#include <limits>

#include "transload/error.h"

namespace transload {

Dims::Dims(std::span<const std::int64_t> values) : size_(values.size()) {
  if (values.size() <= few_.size()) {
    std::copy(values.begin(), values.end(), few_.begin());
  } else {
    more_.assign(values.begin(), values.end());
  }
}

bool Dims::operator==(const Dims& other) const {
  return std::equal(begin(), end(), other.begin(), other.end());
}

std::string Dims::str() const {
  std::string text = "[";
  for (std::size_t i = 0; i < size_; ++i) {
    if (i) text += ", ";
    text += std::to_string((*this)[i]);
  }
  return text + "]";
}

Dims contiguous_strides(std::span<const std::int64_t> shape) {
  Dims strides(shape);
  std::uint64_t step = 1;  // may wrap for a tensor without elements, where strides do not matter
  for (std::size_t d = shape.size(); d-- > 0;) {
    strides[d] = static_cast<std::int64_t>(step);
    step *= static_cast<std::uint64_t>(std::max<std::int64_t>(shape[d], 1));
  }
  return strides;
}

namespace {

// Returns the offset one past the last byte of the elements, from the start of the storage. In 128
// bits, because shapes and strides from a file can be of any size.
unsigned __int128 reach(Dtype dtype, const Dims& shape, const Dims& stride, std::int64_t offset) {
  const auto bits =
      static_cast<unsigned __int128>(info(dtype).bits < 8 ? info(dtype).bits : itemsize(dtype) * 8);
  unsigned __int128 last = static_cast<unsigned __int128>(offset);
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0) return 0;
    const auto step =
        static_cast<unsigned __int128>(shape[d] - 1) * static_cast<unsigned __int128>(stride[d]);
    last += step;
    if (last >> 64) return last * bits / 8;  // beyond any storage; more terms could wrap 128 bits
  }
  return ((last + 1) * bits + 7) / 8;
}

}  // namespace

Tensor::Tensor(Storage storage, Dtype dtype, Dims shape, Dims stride, std::int64_t storage_offset)
    : storage_(std::move(storage)),
      dtype_(dtype),
      shape_(std::move(shape)),
      stride_(std::move(stride)),
      storage_offset_(storage_offset) {
  if (shape_.size() != stride_.size()) {
    throw Error("a tensor of shape " + shape_.str() + " has strides " + stride_.str() +
                "; expected one stride per dimension");
  }
  const auto negative = [](std::int64_t value) { return value < 0; };
  if (std::any_of(shape_.begin(), shape_.end(), negative) ||
      std::any_of(stride_.begin(), stride_.end(), negative) || storage_offset_ < 0) {
    throw Error("a tensor of shape " + shape_.str() + ", strides " + stride_.str() +
                ", storage offset " + std::to_string(storage_offset_) +
                ": none of them may be negative");
  }
  if (reach(dtype_, shape_, stride_, storage_offset_) > storage_.nbytes()) {
    throw Error("a " + std::string(name(dtype_)) + " tensor of shape " + shape_.str() +
                ", strides " + stride_.str() + ", storage offset " +
                std::to_string(storage_offset_) + " reaches beyond its storage of " +
                std::to_string(storage_.nbytes()) + " bytes");
  }
  nbytes();  // throws on overflow: with strides of 0, a small storage can have any number of elements
}

std::int64_t Tensor::numel() const {
  std::int64_t count = 1;
  if (std::ranges::find(shape_, 0) != shape_.end()) return 0;
  for (const std::int64_t size : shape_) {
    if (__builtin_mul_overflow(count, size, &count)) {
      throw Error("a tensor of shape " + shape_.str() + " has more than 2^63 elements");
    }
  }
  return count;
}

std::uint64_t Tensor::nbytes() const {
  const auto count = static_cast<std::uint64_t>(numel());
  const std::uint64_t bits = info(dtype_).bits;
  if (bits < 8) return (count * bits + 7) / 8;
  std::uint64_t nbytes;
  if (__builtin_mul_overflow(count, bits / 8, &nbytes)) {
    throw Error("a " + std::string(name(dtype_)) + " tensor of shape " + shape_.str() +
                " has more than 2^64 bytes");
  }
  return nbytes;
}

std::byte* Tensor::data() const {
  if (!storage_.data()) return nullptr;
  const std::uint64_t bits = info(dtype_).bits;
  return storage_.data() + static_cast<std::uint64_t>(storage_offset_) * bits / 8;
}

bool Tensor::is_contiguous() const {
  if (numel() == 0) return true;
  std::int64_t step = 1;
  for (std::size_t d = shape_.size(); d-- > 0;) {
    if (shape_[d] == 1) continue;
    if (stride_[d] != step) return false;
    step *= shape_[d];
  }
  return true;
}

}  // namespace transload
