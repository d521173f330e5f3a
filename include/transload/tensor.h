// Storage and Tensor. Copying either shares the bytes; the last owner frees them, on their device.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "transload/device.h"
#include "transload/dtype.h"

namespace transload {

// Bytes on one device. Whoever made it says by `owner` what keeps them alive: an allocation that is
// freed when the last Storage over it goes, or an object of the caller's (a borrowed storage).
class Storage {
 public:
  Storage() = default;  // no bytes, on the CPU

  // Borrows nbytes at `data` (an address on `device`). `owner` is kept until the last copy goes. Its
  // get() is the storage's identity, so each storage needs one of its own; if it is null, the storage
  // is identified by `data` and the caller keeps the bytes alive.
  Storage(Device device, std::byte* data, std::uint64_t nbytes, std::shared_ptr<void> owner)
      : owner_(std::move(owner)), data_(data), nbytes_(nbytes), device_(device) {}

  Device device() const { return device_; }
  std::byte* data() const { return data_; }  // null on meta, and where there are no bytes
  std::uint64_t nbytes() const { return nbytes_; }

  // Equal for two storages if and only if they are the same one.
  const void* identity() const { return owner_ ? owner_.get() : data_; }
  const std::shared_ptr<void>& owner() const { return owner_; }

 private:
  std::shared_ptr<void> owner_;
  std::byte* data_ = nullptr;
  std::uint64_t nbytes_ = 0;
  Device device_;
};

// Memory for nbytes on a device, not initialised. Throws DeviceError with what was asked for and what
// is free.
Storage allocate(Device device, std::uint64_t nbytes);

// Sizes or strides, in elements, one for each dimension. Up to five need no allocation.
class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<std::int64_t> values)
      : Dims(std::span(values.begin(), values.size())) {}
  Dims(std::span<const std::int64_t> values);
  Dims(const std::vector<std::int64_t>& values) : Dims(std::span<const std::int64_t>(values)) {}

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const std::int64_t* begin() const { return more_.empty() ? few_.data() : more_.data(); }
  const std::int64_t* end() const { return begin() + size_; }
  std::int64_t operator[](std::size_t i) const { return begin()[i]; }
  std::int64_t& operator[](std::size_t i) { return more_.empty() ? few_[i] : more_[i]; }
  bool operator==(const Dims& other) const;
  std::string str() const;  // "[2, 3]"

 private:
  std::size_t size_ = 0;
  std::array<std::int64_t, 5> few_{};
  std::vector<std::int64_t> more_;
};

// Strides of a row-major tensor without gaps, as torch gives them to a new one.
Dims contiguous_strides(std::span<const std::int64_t> shape);

// A view of a storage: dtype, shape, stride and storage offset, the last three in elements.
class Tensor {
 public:
  Tensor() = default;  // float32, shape [0]

  // Throws Error if an element would lie outside of the storage.
  Tensor(Storage storage, Dtype dtype, Dims shape, Dims stride, std::int64_t storage_offset = 0);

  const Storage& storage() const { return storage_; }
  Device device() const { return storage_.device(); }
  Dtype dtype() const { return dtype_; }
  const Dims& shape() const { return shape_; }
  const Dims& stride() const { return stride_; }
  std::int64_t storage_offset() const { return storage_offset_; }
  std::int64_t numel() const;
  std::uint64_t nbytes() const;  // of its elements, without gaps
  std::byte* data() const;       // address of the first element, on device(); null on meta
  bool is_contiguous() const;    // row-major, no gaps, as torch's is_contiguous()

  bool requires_grad = false;
  bool is_parameter = false;  // a torch.nn.Parameter
  // its value is the conjugate of what is stored, as torch's lazy conj() leaves it
  bool conj = false;
  bool neg = false;  // its value is the negative of what is stored

 private:
  Storage storage_;
  Dtype dtype_ = Dtype::float32;
  Dims shape_{0};
  Dims stride_{1};
  std::int64_t storage_offset_ = 0;
};

// A new row-major tensor; its bytes are not initialised.
Tensor empty(Dims shape, Dtype dtype, Device device = kCpu);
Tensor zeros(Dims shape, Dtype dtype, Device device = kCpu);

// A new float32 tensor on the CPU. Throws Error if the number of values is not that of the shape.
Tensor from_values(std::span<const float> values, Dims shape);

// Copies the elements of `from` into `to`, across devices, casting as torch's copy_ does; any strides.
// Blocks until they are there. Shapes must be equal: MismatchError. A `to` on meta is left alone, as
// torch leaves it. Never holds more than one staging buffer of 4 MiB besides.
void copy(const Tensor& to, const Tensor& from);

// The tensor itself if it is there already, else a row-major copy on the device.
Tensor to(const Tensor& tensor, Device device);

// Elements in row-major order as stored, copied to the CPU if need be: a byte for each 8 bits of dtype.
std::vector<std::byte> element_bytes(const Tensor& tensor);

// As Python prints it: values rounded to 4 digits, summarised beyond 1000 elements, with dtype and
// device where they are not the default ones.
std::string str(const Tensor& tensor);

}  // namespace transload
