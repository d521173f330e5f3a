// A small neural network: modules, gradients and optimizers, named and laid out as PyTorch has them. Enough to train a
// model on a GPU, to save it and to see it move; not a framework. All tensors are float32 and row-major.
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
// A library of its own, transload_nn. Objects of it are for one thread at a time. All operands of an operation have to
// be on one device: an Error names the devices and tensors that are not.
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

// Random numbers that are the same wherever they are made.
class Generator {
 public:
  explicit Generator(std::uint64_t seed) : engine_(seed) {}

  double uniform();                                        // in [0, 1)
  double normal();                                         // mean 0, variance 1
  Tensor randn(Dims shape);                                // normal, on the CPU
  Tensor rand(Dims shape, float low = 0, float high = 1);  // uniform in [low, high), on the CPU

 private:
  std::mt19937_64 engine_;
  std::optional<double> second_;  // normal numbers are made in pairs
};

// A tensor that remembers how it was computed, for backward(). Copies are the same variable.
class Variable {
 public:
  // What is computed from a tensor with requires_grad can be differentiated by it.
  Variable(Tensor value);

  const Tensor& value() const;
  bool requires_grad() const;
  // Of a module's parameter: "net1.weight", from the outermost module; else empty.
  const std::string& name() const;

  // What backward() has summed up since zero_grad(), on the value's device. Only of leaves: parameters and the like.
  const std::optional<Tensor>& grad() const;
  void zero_grad();

  // The value of a variable of one element. Waits for the device that computes it.
  float item() const;

  // Adds d(this) / d(leaf) to the grad of each leaf that this variable was computed from and that requires one.
  // Throws Error if this one has not exactly one element, or no such leaf.
  void backward() const;

  // For modules and operations.
  struct Node;
  const std::shared_ptr<Node>& node() const { return node_; }

 private:
  std::shared_ptr<Node> node_;
};

// Parameters, buffers and modules under names. A class derived from it registers its own in its constructor and defines
// forward(). Not copied and not moved: modules refer to their children, which have to outlive them, as members do.
class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  virtual Variable forward(const Variable& x) = 0;
  Variable operator()(const Variable& x) { return forward(x); }

  // In the order in which they were registered, children after what is the module's own. Each once.
  std::vector<std::pair<std::string, Variable>> named_parameters() const;
  std::vector<Variable> parameters() const;

  // Keys as torch has them, "net1.weight", parameters before buffers, and its `_metadata`. The tensors share the storages
  // of the live ones, so that filling them fills the model; requires_grad is false.
  StateDict state_dict() const;

  // Copies the values of `source`, which may be on other devices, into the module's own tensors. Keys, shapes,
  // strictness and errors as transload::load_state_dict(): {.strict = false}, {.at = "model_state_dict"}.
  FillResult load_state_dict(const StateDict& source, const FillOptions& options = {});

  // Moves the parameters (with their gradients) and buffers. Optimizers and whoever else holds a parameter hold it still;
  // state dicts made before keep the tensors that were. If it throws nothing has moved.
  void to(Device device);

  void train() { set_training(true); }
  void eval() { set_training(false); }
  bool is_training() const { return is_training_; }

  void zero_grad();

  // Where it stands in the outermost module: "encoder.net1"; empty for that one itself.
  const std::string& path() const { return path_; }

 protected:
  // Names hold no dot and are used once: else Error.
  Variable register_parameter(std::string_view name, Tensor value);
  Variable register_buffer(std::string_view name,
                           Tensor value);  // saved with the model, not trained
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

// The module's own tensors from a file: transload::load_into(model.state_dict(), path, options).
FillResult load_into(Module& model, const std::filesystem::path& path,
                     const FillOptions& options = {});

// x (…, in) -> y (…, out) = x · weight (out, in) transposed + bias (out). Both start uniform in ±1/√in, as torch's do.
class Linear : public Module {
 public:
  Linear(std::int64_t in, std::int64_t out, Generator& generator);
  Variable forward(const Variable& x) override;

 private:
  Variable weight_, bias_;
};

class ReLU : public Module {
 public:
  Variable forward(const Variable& x) override;
};

// One module after the other, named "0", "1", …
class Sequential : public Module {
 public:
  Sequential& add(std::unique_ptr<Module> module);
  Variable forward(const Variable& x) override;

 private:
  std::vector<std::unique_ptr<Module>> all_;
};

// The mean of the squared differences, a variable of shape []. The two have to be of one shape.
class MSELoss {
 public:
  Variable operator()(const Variable& prediction, const Variable& target) const;
};

// Changes parameters by their gradients. What it remembers of a parameter is made at the first step that needs it, on
// the parameter's device, and stays there: like torch's, it does not follow Module::to().
class Optimizer {
 public:
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  // Parameters without a gradient are left alone.
  virtual void step() = 0;
  void zero_grad();

  // As PyTorch 2.13 lays it out: {"state": {0: {"momentum_buffer": …}}, "param_groups": [{"lr": …, "params": [0, …]}]}.
  // The tensors share the storages of the live ones.
  StateDict state_dict() const;

  // Takes options and state over, parameters matched by position; tensors are copied to their parameter's device, but
  // `step` to the CPU. Throws MismatchError if groups or parameters are not as many or shapes differ, UnsupportedError
  // for options that this one has not (nesterov, amsgrad, …); then nothing has changed.
  void load_state_dict(const Value& source);
  void load_state_dict(const StateDict& source) { load_state_dict(source.root()); }

 protected:
  using State = std::vector<std::pair<std::string, Tensor>>;  // of one parameter, in torch's order

  explicit Optimizer(std::vector<Variable> parameters)
      : parameters_(std::move(parameters)), states_(parameters_.size()) {}

  virtual std::string_view kind() const = 0;
  virtual std::vector<std::string_view> state_names() const = 0;
  virtual StateDict options() const = 0;
  virtual void set_options(const Value& group) = 0;  // changes nothing if it throws

  std::size_t size() const { return parameters_.size(); }
  const Variable& parameter(std::size_t i) const { return parameters_[i]; }
  // Zeros of the parameter's shape at first; `step` is a number on the CPU.
  Tensor& state(std::size_t i, std::string_view name);
  // Throws Error unless the parameter, its gradient and its state are on one device.
  void require_together(std::size_t i) const;

 private:
  State read_state(std::size_t i, const Value& saved) const;

  std::vector<Variable> parameters_;
  std::vector<State> states_;  // empty for a parameter that had no step
};

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
