// The layers and the loss: each computes its result by kernels and records its gradients on the
// tape.
#include <cmath>

#include "nn/launch.h"
#include "nn/operands.h"
#include "nn/tape.h"
#include "transload/nn.h"

namespace transload::nn {
namespace {

const float* read(const Tensor& tensor) { return floats(tensor); }

// The sizes of a linear map, x (rows, in) -> y (rows, out). `rows` is the product of all sizes of x
// but the last.
struct LinearSizes {
  std::int64_t rows, in, out;
};

// Returns the bound of the initial weights and biases. torch.nn.Linear.reset_parameters calls
// kaiming_uniform_ with a = √5, which gives 1/√in.
float linear_bound(std::int64_t in) {
  if (in < 1) throw Error("Linear: " + std::to_string(in) + " inputs; expected at least 1");
  return 1 / std::sqrt(static_cast<float>(in));
}

// The gradients of a linear map. s: its sizes; dy (rows, out).
Tensor linear_by_input(const Tensor& dy, const Tensor& weight, const Dims& x_shape,
                       const LinearSizes& s) {
  const Tensor dx = empty(x_shape, Dtype::float32, dy.device());
  launch(dy.device(), "transload_linear_backward_input", dx.numel(), read(dy), read(weight),
         floats(dx), s.rows, s.in, s.out);
  return dx;
}

Tensor linear_by_weight(const Tensor& dy, const Tensor& x, const LinearSizes& s) {
  const Tensor dweight = empty({s.out, s.in}, Dtype::float32, dy.device());
  launch(dy.device(), "transload_linear_backward_weight", dweight.numel(), read(dy), read(x),
         floats(dweight), s.rows, s.in, s.out);
  return dweight;
}

Tensor linear_by_bias(const Tensor& dy, const LinearSizes& s) {
  const Tensor dbias = empty({s.out}, Dtype::float32, dy.device());
  launch(dy.device(), "transload_linear_backward_bias", s.out, read(dy), floats(dbias), s.rows,
         s.out);
  return dbias;
}

Tensor mse_by_input(const Tensor& dloss, const Tensor& x, const Tensor& target) {
  const Tensor dx = empty(x.shape(), Dtype::float32, x.device());
  launch(x.device(), "transload_mse_backward", x.numel(), read(dloss), read(x), read(target),
         floats(dx), x.numel());
  return dx;
}

}  // namespace

Linear::Linear(std::int64_t in, std::int64_t out, Generator& generator)
    : weight_(register_parameter("weight",
                                 generator.rand({out, in}, -linear_bound(in), linear_bound(in)))),
      bias_(
          register_parameter("bias", generator.rand({out}, -linear_bound(in), linear_bound(in)))) {}

Variable Linear::forward(const Variable& input) {
  const Operation operation{"Linear", path()};
  const Tensor x = input.value(), weight = weight_.value(), bias = bias_.value();
  require_together(operation, {{"input", x, input.name()},
                               {"weight", weight, weight_.name()},
                               {"bias", bias, bias_.name()}});
  const std::int64_t out = weight.shape()[0], in = weight.shape()[1];
  if (x.shape().empty() || x.shape()[x.shape().size() - 1] != in) {
    throw Error(operation.str() + ": input is " + describe(x) + ", but its last size must be " +
                std::to_string(in) + " because \"" + weight_.name() + "\" is " +
                weight.shape().str());
  }
  const LinearSizes sizes{x.numel() / in, in, out};
  Dims y_shape = x.shape();
  y_shape[y_shape.size() - 1] = out;
  const Tensor y = empty(y_shape, Dtype::float32, x.device());
  launch(x.device(), "transload_linear_forward", y.numel(), read(x), read(weight), read(bias),
         floats(y), sizes.rows, in, out);
  return record(
      y, {{input, [=](const Tensor& dy) { return linear_by_input(dy, weight, x.shape(), sizes); }},
          {weight_, [=](const Tensor& dy) { return linear_by_weight(dy, x, sizes); }},
          {bias_, [=](const Tensor& dy) { return linear_by_bias(dy, sizes); }}});
}

Variable ReLU::forward(const Variable& input) {
  const Tensor x = input.value();
  require_together({"ReLU", path()}, {{"input", x, input.name()}});
  const Tensor y = empty(x.shape(), Dtype::float32, x.device());
  launch(x.device(), "transload_relu_forward", x.numel(), read(x), floats(y), x.numel());
  return record(y, {{input, [=](const Tensor& dy) {
                       const Tensor dx = empty(y.shape(), Dtype::float32, y.device());
                       launch(y.device(), "transload_relu_backward", y.numel(), read(dy), read(y),
                              floats(dx), y.numel());
                       return dx;
                     }}});
}

Sequential& Sequential::add(std::unique_ptr<Module> module) {
  register_module(std::to_string(all_.size()), *module);
  all_.push_back(std::move(module));
  return *this;
}

Variable Sequential::forward(const Variable& x) {
  Variable y = x;
  for (const auto& module : all_) y = (*module)(y);
  return y;
}

Variable MSELoss::operator()(const Variable& prediction, const Variable& target) const {
  const Tensor x = prediction.value(), y = target.value();
  require_together({"MSELoss"},
                   {{"prediction", x, prediction.name()}, {"target", y, target.name()}});
  if (x.shape() != y.shape()) {
    throw Error("MSELoss: the prediction is " + describe(x) + " but the target is " + describe(y) +
                "; the shapes must be equal");
  }
  const Tensor loss = empty({}, Dtype::float32, x.device());
  launch(x.device(), "transload_mse_forward", 1, read(x), read(y), floats(loss), x.numel());
  return record(loss, {{prediction, [=](const Tensor& dloss) { return mse_by_input(dloss, x, y); }},
                       {target, [=](const Tensor& dloss) { return mse_by_input(dloss, y, x); }}});
}

}  // namespace transload::nn
