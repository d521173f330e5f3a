// The check of an operation's operands, and how errors name them.
#include "nn/operands.h"

#include <algorithm>

#include "transload/error.h"

namespace transload::nn {

std::string Operand::str() const {
  return (name.empty() ? std::string(role) : "\"" + std::string(name) + "\"") + " (" +
         describe(tensor) + ")";
}

std::string Operation::str() const {
  return std::string(kind) + (path.empty() ? "" : " \"" + std::string(path) + "\"");
}

std::string describe(const Tensor& tensor) {
  return std::string(name(tensor.dtype())) + " " + tensor.shape().str();
}

void require_together(const Operation& operation, std::initializer_list<Operand> operands) {
  const Operand& first = *operands.begin();
  for (const Operand& operand : operands) {
    const Device a = first.tensor.device(), b = operand.tensor.device();
    if (a != b) {
      // The second line is PyTorch's message, which people search for.
      throw Error(
          operation.str() + ": " + first.str() + " is on " + a.str() + " but " + operand.str() +
          " is on " + b.str() + "; move one with model.to(device) or to(tensor, device)\n" +
          "  Expected all tensors to be on the same device, but found at least two devices, " +
          std::min(a, b).str() + " and " + std::max(a, b).str() + "!");
    }
    if (operand.tensor.dtype() != Dtype::float32 || !operand.tensor.is_contiguous()) {
      throw Error(
          operation.str() + ": " + operand.str() + " has strides " + operand.tensor.stride().str() +
          "; expected a float32 tensor in row-major order: copy() it into an empty() tensor");
    }
  }
}

}  // namespace transload::nn
