// Storage (bytes on one device) and Tensor (a typed, strided view of a Storage). Copying either
// object shares the bytes; the last owner frees them on their device.
//
//   transload::Tensor a = transload::from_values(std::vector<float>{1, 2, 3, 4}, {2, 2});
//   transload::Tensor b = transload::to(a, transload::cuda(0));  // a copy on the GPU
//   transload::copy(a, b);                                       // and its values back
//
// Shapes, strides and storage offsets count elements; sizes named nbytes count bytes. Different
// objects may be used from different threads at the same time. Access to the bytes is not
// synchronized.
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

// Bytes on one device. `owner` keeps them alive: it is either an allocation, freed with the last
// Storage that shares it, or an object of the caller (a borrowed storage).
class Storage {
 public:
  Storage() = default;  // no bytes, on the CPU

  // Borrows `nbytes` bytes at `data`, an address on `device`, and keeps `owner` until the last copy
  // of this Storage is destroyed. owner.get() is the storage's identity, so two storages must not
  // share an owner. With a null owner, `data` is the identity and the caller keeps the bytes alive.
  Storage(Device device, std::byte* data, std::uint64_t nbytes, std::shared_ptr<void> owner)
      : owner_(std::move(owner)), data_(data), nbytes_(nbytes), device_(device) {}

  Device device() const { return device_; }
  // Returns the address on device(); null on meta and for 0 bytes.
  std::byte* data() const { return data_; }
  std::uint64_t nbytes() const { return nbytes_; }

  // Two storages are the same if and only if their identities are equal.
  const void* identity() const { return owner_ ? owner_.get() : data_; }
  const std::shared_ptr<void>& owner() const { return owner_; }

 private:
  std::shared_ptr<void> owner_;
  std::byte* data_ = nullptr;
  std::uint64_t nbytes_ = 0;
  Device device_;
};

// Allocates `nbytes` uninitialized bytes on a device. On a GPU the memory comes from the pool of
// this process and is usable on any stream when the call returns. Throws PlacementError if the
// device is not present, DeviceError with the requested and the free bytes if there is not enough
// memory.
Storage allocate(Device device, std::uint64_t nbytes);

// Sizes or strides in elements, one per dimension. Up to five dimensions need no heap allocation.
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
  std::string str() const;  // returns "[2, 3]"

 private:
  std::size_t size_ = 0;
  std::array<std::int64_t, 5> few_{};
  std::vector<std::int64_t> more_;
};

// Returns the strides that torch gives to a new contiguous (row-major) tensor.
Dims contiguous_strides(std::span<const std::int64_t> shape);

// A view of a storage: dtype, shape, stride and storage offset. The last three count elements.
class Tensor {
 public:
  Tensor() = default;  // float32, shape [0]

  // Throws Error if shape and stride differ in length, if a size, a stride or the offset is
  // negative, or if an element lies outside the storage.
  Tensor(Storage storage, Dtype dtype, Dims shape, Dims stride, std::int64_t storage_offset = 0);

  const Storage& storage() const { return storage_; }
  Device device() const { return storage_.device(); }
  Dtype dtype() const { return dtype_; }
  const Dims& shape() const { return shape_; }
  const Dims& stride() const { return stride_; }
  std::int64_t storage_offset() const { return storage_offset_; }
  std::int64_t numel() const;
  std::uint64_t nbytes() const;  // bytes of the elements, without gaps between them
  std::byte* data() const;       // address of the first element on device(); null on meta
  bool is_contiguous() const;    // row-major without gaps, as torch's is_contiguous()

  bool requires_grad = false;
  bool is_parameter = false;  // a torch.nn.Parameter
  // The value is the conjugate of the stored one: torch's conj() sets this bit and copies nothing.
  bool conj = false;
  // The value is the negative of the stored one: torch's lazy neg bit.
  bool neg = false;

 private:
  Storage storage_;
  Dtype dtype_ = Dtype::float32;
  Dims shape_{0};
  Dims stride_{1};
  std::int64_t storage_offset_ = 0;
};

// Return a new contiguous tensor; empty() leaves its bytes uninitialized. Throw what allocate()
// throws, and Error for a shape with a negative size or too many elements.
Tensor empty(Dims shape, Dtype dtype, Device device = kCpu);
Tensor zeros(Dims shape, Dtype dtype, Device device = kCpu);

// Returns a new float32 tensor on the CPU with these values in row-major order. Throws Error if
// their number is not the number of elements of the shape.
Tensor from_values(std::span<const float> values, Dims shape);

// Copies the elements of `from` into `to`, like torch's copy_: across devices, between any strides,
// cast to the dtype of `to`. Blocks until the copy is done. Needs at most two staging buffers of 4
// MiB. Does nothing if `to` is on meta. Throws MismatchError if the shapes differ, Error if `from`
// is on meta, UnsupportedError for a cast that torch does not have and for dtypes smaller than a
// byte, DeviceError if the driver fails.
void copy(const Tensor& to, const Tensor& from);

// Returns the tensor itself if it is on the device, otherwise a contiguous copy of it there. Throws
// what empty() and copy() throw.
Tensor to(const Tensor& tensor, Device device);

// Returns the elements as they are stored (conj and neg not applied), in row-major order,
// itemsize(dtype) bytes each. Copies from a GPU and blocks until the copy is done.
std::vector<std::byte> element_bytes(const Tensor& tensor);

// Returns the text that Python's print(tensor) shows: values rounded to 4 digits, summarized beyond
// 1000 elements, with the dtype and the device if they are not the default ones. Copies only the
// elements that are shown from a GPU.
std::string str(const Tensor& tensor);

}  // namespace transload
