// The tape: how variables were computed. A variable owns the nodes it was computed from, so the
// tape is freed with the last variable that needs it.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transload/nn.h"

namespace transload::nn {

// An input of an operation, and a function that computes the gradient with respect to it, as a new
// tensor, from the gradient with respect to the result.
struct Input {
  Variable variable;
  std::function<Tensor(const Tensor& gradient)> gradient;
};

struct Variable::Node {
  Tensor value;
  std::optional<Tensor> grad;
  std::string name;
  std::vector<Input> inputs;  // the inputs that require a gradient; empty for a leaf
  int depth = 0;              // greater than the depth of every input
};

// Returns the result of an operation as a variable that records its inputs.
Variable record(Tensor value, std::initializer_list<Input> inputs);

// Returns a new tensor with all elements equal to `value`.
Tensor full(const Dims& shape, float value, Device device);

// Returns the elements of a float32 tensor, on its device.
inline float* floats(const Tensor& tensor) { return reinterpret_cast<float*>(tensor.data()); }

}  // namespace transload::nn
