// Views: other tensors over the same storage. Only shape, stride and storage offset are computed;
// no byte is read, so a view of a tensor on any device, meta included, costs the same.
//
//   Tensor rows = slice(weight, {Slice{10, 20}});              // weight[10:20]
//   Tensor last = slice(weight, {kEllipsis, -1});              // weight[..., -1]
//   Tensor even = slice(weight, {Slice{}, Slice{0, {}, 2}});   // weight[:, ::2]
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <variant>

#include "transload/tensor.h"

namespace transload {

// Python's begin:end:step. Negative positions count from the end; positions outside are moved to
// the nearest end.
struct Slice {
  std::optional<std::int64_t> begin{};  // empty: 0
  std::optional<std::int64_t> end{};    // empty: the size of the dimension
  std::int64_t step = 1;                // at least 1
};

// Stands for as many whole dimensions as the other subscripts leave.
struct Ellipsis {};
inline constexpr Ellipsis kEllipsis{};

// One part of tensor[a, b, ...]: a position, which removes the dimension; a slice; an ellipsis.
using Subscript = std::variant<std::int64_t, Slice, Ellipsis>;

// Returns tensor[subscripts...] as torch has it. Dimensions without a subscript stay whole. Throws
// Error if a position is out of bounds, a step is less than 1, or there are more subscripts than
// dimensions or more than one ellipsis.
Tensor slice(const Tensor& tensor, std::span<const Subscript> subscripts);
Tensor slice(const Tensor& tensor, std::initializer_list<Subscript> subscripts);

// Returns positions begin to begin + length - 1 of one dimension, as torch.narrow. Negative
// dimensions and positions count from the end. Throws Error if they are out of bounds.
Tensor narrow(const Tensor& tensor, std::int64_t dimension, std::int64_t begin,
              std::int64_t length);

// Returns one position of a dimension, which is removed, as torch.select. Throws Error if it is out
// of bounds.
Tensor select(const Tensor& tensor, std::int64_t dimension, std::int64_t position);

}  // namespace transload
