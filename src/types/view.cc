// Views of tensors: the arithmetic of shapes, strides and storage offsets, all in elements.
#include "transload/view.h"

#include <algorithm>
#include <string>
#include <vector>

#include "transload/error.h"

namespace transload {
namespace {

constexpr std::int64_t kMax = INT64_MAX;

std::string described(const Tensor& tensor) { return "a tensor of shape " + tensor.shape().str(); }

// Shape, stride and offset of a view, one dimension after the other.
class View {
 public:
  explicit View(const Tensor& tensor) : tensor_(tensor), offset_(tensor.storage_offset()) {}

  void keep() { keep(0, size(), 1); }

  void add(const Slice& slice) {
    if (slice.step < 1) {
      throw Error("step " + std::to_string(slice.step) + " in dimension " +
                  std::to_string(dimension_) + " of " + described(tensor_) +
                  ": steps must be positive; read forwards and flip the result");
    }
    const std::int64_t begin = inside(slice.begin.value_or(0));
    const std::int64_t end = inside(slice.end.value_or(kMax));
    const std::int64_t room = std::max<std::int64_t>(0, end - begin);
    keep(begin, room / slice.step + (room % slice.step != 0), slice.step);
  }

  void add(std::int64_t position) {
    if (position < -size() || position >= size()) {
      throw Error("index " + std::to_string(position) + " is out of bounds for dimension " +
                  std::to_string(dimension_) + " of " + described(tensor_));
    }
    offset_ += (position < 0 ? position + size() : position) * stride();
    ++dimension_;
  }

  bool at_end() const { return dimension_ == tensor_.shape().size(); }

  Tensor made() const {
    Tensor view(tensor_.storage(), tensor_.dtype(), Dims(shape_), Dims(strides_), offset_);
    view.requires_grad = tensor_.requires_grad;
    view.conj = tensor_.conj;
    view.neg = tensor_.neg;
    return view;
  }

 private:
  std::int64_t size() const { return tensor_.shape()[dimension_]; }
  std::int64_t stride() const { return tensor_.stride()[dimension_]; }

  std::int64_t inside(std::int64_t position) const {
    return std::clamp<std::int64_t>(position < 0 ? position + size() : position, 0, size());
  }

  void keep(std::int64_t begin, std::int64_t count, std::int64_t step) {
    shape_.push_back(count);
    // With at most one position a step is never taken, and the product could overflow.
    strides_.push_back(count > 1 ? stride() * step : stride());
    if (count > 0) offset_ += begin * stride();
    ++dimension_;
  }

  const Tensor& tensor_;
  std::int64_t offset_;
  std::size_t dimension_ = 0;  // the next one
  std::vector<std::int64_t> shape_, strides_;
};

std::size_t dimension_of(const Tensor& tensor, std::int64_t dimension) {
  const auto count = static_cast<std::int64_t>(tensor.shape().size());
  if (dimension < -count || dimension >= count)
    throw Error("dimension " + std::to_string(dimension) + " of " + described(tensor));
  return static_cast<std::size_t>(dimension < 0 ? dimension + count : dimension);
}

Tensor with_one(const Tensor& tensor, std::size_t dimension, const Subscript& subscript) {
  std::vector<Subscript> all(dimension, Slice{});
  all.push_back(subscript);
  return slice(tensor, all);
}

}  // namespace

Tensor slice(const Tensor& tensor, std::span<const Subscript> subscripts) {
  const auto is_ellipsis = [](const Subscript& s) { return std::holds_alternative<Ellipsis>(s); };
  const auto ellipses = static_cast<std::size_t>(std::ranges::count_if(subscripts, is_ellipsis));
  if (ellipses > 1) throw Error("more than one ellipsis for " + described(tensor));
  const std::size_t used = subscripts.size() - ellipses;
  if (used > tensor.shape().size())
    throw Error(std::to_string(used) + " indices for " + described(tensor));
  View view(tensor);
  for (const Subscript& subscript : subscripts) {
    if (const auto* position = std::get_if<std::int64_t>(&subscript)) {
      view.add(*position);
    } else if (const auto* part = std::get_if<Slice>(&subscript)) {
      view.add(*part);
    } else {
      for (std::size_t i = used; i < tensor.shape().size(); ++i) view.keep();
    }
  }
  while (!view.at_end()) view.keep();
  return view.made();
}

Tensor slice(const Tensor& tensor, std::initializer_list<Subscript> subscripts) {
  return slice(tensor, std::span(subscripts.begin(), subscripts.size()));
}

Tensor narrow(const Tensor& tensor, std::int64_t dimension, std::int64_t begin,
              std::int64_t length) {
  const std::size_t d = dimension_of(tensor, dimension);
  const std::int64_t size = tensor.shape()[d];
  const std::int64_t first = begin < 0 ? begin + size : begin;
  if (first < 0 || first > size || length < 0 || length > size - first) {
    throw Error("positions " + std::to_string(begin) + " to " + std::to_string(begin) + " + " +
                std::to_string(length) + " of dimension " + std::to_string(dimension) + " of " +
                described(tensor));
  }
  return with_one(tensor, d, Slice{first, first + length});
}

Tensor select(const Tensor& tensor, std::int64_t dimension, std::int64_t position) {
  return with_one(tensor, dimension_of(tensor, dimension), position);
}

}  // namespace transload
