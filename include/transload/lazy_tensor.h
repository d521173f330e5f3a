// LazyTensor: a tensor of an open checkpoint that is not read yet. A part of it costs only that
// part.
//
//   const auto index = std::make_shared<const Index>(open("model.pt"));
//   const LazyTensor weight(index, index->contents["embed.weight"]);
//   Tensor rows = weight.slice({Slice{10, 20}}).read();  // reads 10 rows
//   weight.slice({Slice{}, 0}).read_into(live);          // fills a tensor on whatever device
//
// StateDict::tensors() lists the tensors of index->contents.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "transload/device.h"
#include "transload/index.h"
#include "transload/options.h"
#include "transload/state_dict.h"
#include "transload/tensor.h"
#include "transload/view.h"

namespace transload {

// A value, cheap to copy. It does not keep the Index alive: once its last owner lets go of it,
// which closes its files, reading throws Error. May be used by several threads at the same time.
class LazyTensor {
 public:
  // `value` is a tensor of index->contents; Error if it is another kind of value.
  LazyTensor(const std::shared_ptr<const Index>& index, const Value& value);

  // Its dtype, shape and stride: a tensor on meta.
  const Tensor& meta() const { return meta_; }
  // The tag of the device that it was saved on, as "cuda:0"; "meta" if it was saved without bytes.
  const std::string& location() const { return location_; }
  // The number in Index::storages; Value::kNoStorage if it was saved without bytes.
  std::uint32_t storage_number() const { return storage_number_; }

  // The part tensor[subscripts...], not read either. Throws Error as transload::slice().
  LazyTensor slice(std::span<const Subscript> subscripts) const;
  LazyTensor slice(std::initializer_list<Subscript> subscripts) const;

  // Returns a new row-major tensor with its elements. One that was saved without bytes stays on
  // meta. Throws IoError, FormatError, PlacementError, DeviceError.
  Tensor read(Device device = kCpu, const IoOptions& io = {}) const;

  // Fills `live`, of the same shape, cast to its dtype. Throws MismatchError if the shapes differ,
  // and as read().
  void read_into(const Tensor& live, const IoOptions& io = {}) const;

 private:
  std::weak_ptr<const Index> index_;
  Tensor meta_;
  std::uint32_t storage_number_;
  std::string location_;
};

// Returns an Index whose contents are `root`, a value of index.contents, and what it contains: its
// tensors' storages alone, so that load() of it costs what it holds. Names begin there.
Index index_below(const Index& index, const Value& root);

}  // namespace transload
