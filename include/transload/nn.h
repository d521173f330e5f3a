// A small neural network library: modules, gradients and optimizers whose names and state dicts
// match PyTorch's. It can train a model on a GPU, save it and move it; it is not a framework. All
// tensors are float32 and contiguous.
//
//   class ToyModel : public nn::Module {
//    public:
//     explicit ToyModel(nn::Generator& generator) : net1_(10, 10, generator), net2_(10, 1, generator) {
//       register_module("net1", net1_);
//       register_module("relu", relu_);
//       register_module("net2", net2_);
//     }
//     nn::Variable forward(const nn::Variable& x) override { return net2_(relu_(net1_(x))); }
//
//    private:
//     nn::Linear net1_, net2_;
//     nn::ReLU relu_;
//   };
//
//   ToyModel model(generator);
//   model.to(cuda(0));
//   nn::SGD optimizer(model.parameters(), {.lr = 0.001});
//   optimizer.zero_grad();
//   nn::MSELoss()(model(x), labels).backward();
//   optimizer.step();
//
// The library is linked separately, as transload_nn. An object must not be used from two threads at
// the same time. All operands of an operation must be on one device; otherwise the operation throws
// an Error that names the tensors and their devices. On a GPU, operations queue kernels and return.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "transload/device.h"
#include "transload/state_dict.h"
#include "transload/tensor.h"
#include "transload/transload.h"

namespace transload::nn {

// Random numbers that are the same on every machine for one seed.
class Generator {
 public:
  explicit Generator(std::uint64_t seed) : engine_(seed) {}

  double uniform();  // returns a number in [0, 1)
  double normal();   // returns a number from a distribution with mean 0 and variance 1
  // Return a new float32 tensor on the CPU: normal numbers, or uniform ones in [low, high).
  Tensor randn(Dims shape);
  Tensor rand(Dims shape, float low = 0, float high = 1);

 private:
  std::mt19937_64 engine_;
  std::optional<double> second_;  // normal numbers come in pairs; this is the unused one
};

// A tensor that records how it was computed, for backward(). Copies refer to the same variable.
class Variable {
 public:
  // Makes a leaf. Set value.requires_grad beforehand to compute gradients with respect to it.
  Variable(Tensor value);

  const Tensor& value() const;
  bool requires_grad() const;
  // Returns the full name of a module's parameter or buffer, "net1.weight", counted from the
  // outermost module. Empty for any other variable.
  const std::string& name() const;

  // Returns the sum of the gradients since zero_grad(), on the value's device. Only leaves, such as
  // parameters, have one.
  const std::optional<Tensor>& grad() const;
  void zero_grad();

  // Returns the value of a variable with one element. Blocks until its device has computed it.
  // Throws Error if there is not exactly one element.
  float item() const;

  // Adds d(this) / d(leaf) to the grad of each leaf that this variable was computed from and that
  // requires a gradient. Throws Error if this variable does not have exactly one element or was
  // computed from no such leaf.
  void backward() const;

  // For the implementation of modules and operations.
  struct Node;
  const std::shared_ptr<Node>& node() const { return node_; }

 private:
  std::shared_ptr<Node> node_;
};

// Named parameters, buffers and child modules. A derived class registers them in its constructor
// and defines forward(). A module cannot be copied or moved, because it refers to its children. The
// children must outlive it, as members do.
class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  virtual Variable forward(const Variable& x) = 0;
  Variable operator()(const Variable& x) { return forward(x); }

  // Return each parameter once, in the order of registration: the module's own, then those of its
  // children.
  std::vector<std::pair<std::string, Variable>> named_parameters() const;
  std::vector<Variable> parameters() const;

  // Returns the state dict that torch.nn.Module.state_dict() returns: keys such as "net1.weight",
  // each module's parameters before its buffers, and `_metadata`. The tensors share the storages of
  // the live ones, so filling them fills the model. Their requires_grad is false.
  StateDict state_dict() const;

  // Copies the values of `source`, which may be on other devices, into the module's own tensors.
  // Keys, shapes, options and errors are those of transload::load_state_dict():
  //   model.load_state_dict(checkpoint, {.select = {.at = "model_state_dict"}, .strict = false});
  FillResult load_state_dict(const StateDict& source, const FillOptions& options = {});

  // Moves the parameters, their gradients and the buffers. Variables that an optimizer holds move
  // with them. State dicts made earlier keep the old tensors. Throws what transload::to() throws;
  // then nothing has moved. Until it returns, both copies take memory.
  void to(Device device);

  void train() { set_training(true); }
  void eval() { set_training(false); }
  bool is_training() const { return is_training_; }

  void zero_grad();

  // Returns the module's name within the outermost module, "encoder.net1"; empty for the outermost
  // one.
  const std::string& path() const { return path_; }

 protected:
  // Throw Error if the name is empty, contains a dot or is already in use in this module.
  Variable register_parameter(std::string_view name, Tensor value);
  // A buffer is saved with the model but not trained.
  Variable register_buffer(std::string_view name, Tensor value);
  void register_module(std::string_view name, Module& module);

 private:
  using NamedVariables = std::vector<std::pair<std::string, Variable>>;

  void require_new(std::string_view name) const;
  void put_below(const std::string& name);
  void collect(const std::string& prefix, NamedVariables& parameters) const;
  void collect_state(const std::string& prefix, StateDict& state, StateDict& metadata) const;
  void collect_variables(std::vector<Variable>& variables) const;
  void set_training(bool value);

  NamedVariables parameters_, buffers_;
  std::vector<std::pair<std::string, Module*>> modules_;
  std::string path_;
  bool is_training_ = true;
};

// Fills the module's own tensors from a file. The same as
// transload::load_into(model.state_dict(), path, options).
FillResult load_into(Module& model, const std::filesystem::path& path,
                     const FillOptions& options = {});

// x (…, in), weight (out, in), bias (out) -> y (…, out) = x · transposed weight + bias. Weight and
// bias start uniform in ±1/√in, as in torch. The constructor throws Error if `in` is below 1;
// forward() throws Error if the last size of x is not `in`.
class Linear : public Module {
 public:
  Linear(std::int64_t in, std::int64_t out, Generator& generator);
  Variable forward(const Variable& x) override;

 private:
  Variable weight_, bias_;
};

// x -> max(x, 0), of the same shape.
class ReLU : public Module {
 public:
  Variable forward(const Variable& x) override;
};

// Applies modules in order. It owns them and names them "0", "1", …
class Sequential : public Module {
 public:
  Sequential& add(std::unique_ptr<Module> module);
  Variable forward(const Variable& x) override;

 private:
  std::vector<std::unique_ptr<Module>> all_;
};

// Returns the mean of the squared differences, a variable of shape []. Throws Error if the shapes
// differ.
class MSELoss {
 public:
  Variable operator()(const Variable& prediction, const Variable& target) const;
};

// Updates parameters from their gradients. The state of a parameter (momentum and the like) is
// allocated at the first step that needs it, on the parameter's device. As in torch, it does not
// follow Module::to(): move the model before the first step.
class Optimizer {
 public:
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  // Updates every parameter that has a gradient. Throws Error if a parameter, its gradient and its
  // state are not on one device.
  virtual void step() = 0;
  void zero_grad();

  // Returns the state in PyTorch 2.13's layout; the tensors share the storages of the live ones:
  //   {"state": {0: {"momentum_buffer": …}, …}, "param_groups": [{"lr": …, "params": [0, …]}]}
  StateDict state_dict() const;

  // Takes over options and state; parameters match by position. Tensors are copied to their
  // parameter's device, `step` to the CPU. Throws MismatchError if the number of groups or
  // parameters or a shape differs, UnsupportedError for an option that is not implemented here
  // (nesterov, amsgrad, …). If it throws, nothing has changed.
  void load_state_dict(const Value& source);
  void load_state_dict(const StateDict& source) { load_state_dict(source.root()); }

 protected:
  // The named tensors of one parameter, in torch's order.
  using State = std::vector<std::pair<std::string, Tensor>>;

  explicit Optimizer(std::vector<Variable> parameters)
      : parameters_(std::move(parameters)), states_(parameters_.size()) {}

  virtual std::string_view kind() const = 0;
  virtual std::vector<std::string_view> state_names() const = 0;
  virtual StateDict options() const = 0;
  virtual void set_options(const Value& group) = 0;  // changes nothing if it throws

  std::size_t size() const { return parameters_.size(); }
  const Variable& parameter(std::size_t i) const { return parameters_[i]; }
  // Returns a tensor of parameter i's state. The first call allocates the state: zeros of the
  // parameter's shape on its device, and for `step` a number on the CPU.
  Tensor& state(std::size_t i, std::string_view name);
  // Throws Error unless the parameter, its gradient and its state are on one device.
  void require_together(std::size_t i) const;

 private:
  State read_state(std::size_t i, const Value& saved) const;

  std::vector<Variable> parameters_;
  std::vector<State> states_;  // empty for a parameter that was never updated
};

// The names and defaults of torch.optim.SGD and torch.optim.Adam.
struct SGDOptions {
  double lr = 0.001;
  double momentum = 0;
};

class SGD : public Optimizer {
 public:
  explicit SGD(std::vector<Variable> parameters, SGDOptions options = {})
      : Optimizer(std::move(parameters)), options_(options) {}
  void step() override;

 private:
  std::string_view kind() const override { return "SGD"; }
  std::vector<std::string_view> state_names() const override { return {"momentum_buffer"}; }
  StateDict options() const override;
  void set_options(const Value& group) override;

  SGDOptions options_;
};

struct AdamOptions {
  double lr = 0.001;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
};

class Adam : public Optimizer {
 public:
  explicit Adam(std::vector<Variable> parameters, AdamOptions options = {})
      : Optimizer(std::move(parameters)), options_(options) {}
  void step() override;

 private:
  std::string_view kind() const override { return "Adam"; }
  std::vector<std::string_view> state_names() const override {
    return {"step", "exp_avg", "exp_avg_sq"};
  }
  StateDict options() const override;
  void set_options(const Value& group) override;

  AdamOptions options_;
};

}  // namespace transload::nn
