// Checks the operands of an operation before it computes: one device, float32, row-major.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "transload/tensor.h"

namespace transload::nn {

struct Operand {
  std::string_view role;  // "input"; errors use it if `name` is empty
  const Tensor& tensor;
  std::string_view name = {};  // a parameter's name: "net1.weight"

  std::string str() const;  // returns "\"net1.weight\" (float32 [10, 10])"
};

// The operation as errors name it: its kind, and the path of the module that runs it.
struct Operation {
  std::string_view kind;
  std::string_view path = {};

  std::string str() const;  // returns "Linear \"net1\""
};

// Returns "float32 [10, 10]".
std::string describe(const Tensor& tensor);

// Throws Error if two operands are on different devices (with both names and devices), or if one is
// not float32 and row-major.
void require_together(const Operation& operation, std::initializer_list<Operand> operands);

}  // namespace transload::nn
