// How a variable was computed. Variables hold what they were computed from, so the tape is gone with the last of them.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transload/nn.h"

namespace transload::nn {

// What an operation computed its result from, and the gradient by it: of the result's gradient, a new tensor.
struct Input {
  Variable variable;
  std::function<Tensor(const Tensor& gradient)> gradient;
};

struct Variable::Node {
  Tensor value;
  std::optional<Tensor> grad;
  std::string name;
  std::vector<Input> inputs;  // those that require a gradient; none: a leaf
  int depth = 0;              // more than that of each input
};

// The result of an operation.
Variable record(Tensor value, std::initializer_list<Input> inputs);

// New tensors of operations.
Tensor full(const Dims& shape, float value, Device device);

inline float* floats(const Tensor& tensor) { return reinterpret_cast<float*>(tensor.data()); }

}  // namespace transload::nn
