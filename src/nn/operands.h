// What every operation asks of its tensors before it computes.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "transload/tensor.h"

namespace transload::nn {

struct Operand {
  std::string_view role;  // "input"
  const Tensor& tensor;
  std::string_view name = {};  // of a parameter: "net1.weight"

  std::string str() const;  // "\"net1.weight\" (float32 [10, 10])"
};

// The operation, as errors name it: its kind, and of a module its path.
struct Operation {
  std::string_view kind;
  std::string_view path = {};

  std::string str() const;  // "Linear \"net1\""
};

// "float32 [10, 10]"
std::string describe(const Tensor& tensor);

// Throws Error with the names of both tensors if two are on different devices, or if one is not float32 and row-major.
void require_together(const Operation& operation, std::initializer_list<Operand> operands);

}  // namespace transload::nn
