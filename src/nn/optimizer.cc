// SGD and Adam: their steps, and their state dicts in PyTorch's layout.
#include <cmath>
#include <functional>

#include "nn/launch.h"
#include "nn/operands.h"
#include "nn/tape.h"
#include "transload/nn.h"

namespace transload::nn {
namespace {

const float* read(const Tensor& tensor) { return floats(tensor); }

// torch's defaults are the int 0, so a 0 is saved as an int.
Item number(double value) { return value == 0 ? Item(std::int64_t{0}) : Item(value); }

// Throws UnsupportedError if an option that is not implemented here is on. Files of older PyTorch
// versions may lack the option.
void require_off(std::string_view optimizer, const Value& group, std::string_view option) {
  const auto found = group.find(option);
  if (!found || found->is(ValueKind::none)) return;
  const bool is_on = found->is(ValueKind::boolean) ? found->boolean() : found->real() != 0;
  if (!is_on) return;
  throw UnsupportedError(std::string(optimizer) + ": the saved state has " + std::string(option) +
                         " = " + str(*found, 60) + ", which this optimizer does not support");
}

double real_or(const Value& group, std::string_view option, double otherwise) {
  const auto found = group.find(option);
  return found ? found->real() : otherwise;
}

}  // namespace

void Optimizer::zero_grad() {
  for (Variable& parameter : parameters_) parameter.zero_grad();
}

Tensor& Optimizer::state(std::size_t i, std::string_view name) {
  State& state = states_[i];
  if (state.empty()) {
    const Tensor& value = parameters_[i].value();
    for (const std::string_view each : state_names()) {
      state.emplace_back(each, each == "step" ? zeros({}, Dtype::float32)
                                              : full(value.shape(), 0, value.device()));
    }
  }
  for (auto& [each, tensor] : state) {
    if (each == name) return tensor;
  }
  throw Error(std::string(kind()) + " has no state \"" + std::string(name) + "\"");
}

void Optimizer::require_together(std::size_t i) const {
  const Tensor& value = parameters_[i].value();
  nn::require_together({kind()}, {{"a parameter", value, parameters_[i].name()},
                                  {"its gradient", *parameters_[i].grad()}});
  for (const auto& [name, tensor] : states_[i]) {
    if (name != "step")
      nn::require_together(
          {kind()}, {{"a parameter", value, parameters_[i].name()}, {"its " + name, tensor}});
  }
}

StateDict Optimizer::state_dict() const {
  StateDict states = StateDict::dict(), numbers = StateDict::list(), groups = StateDict::list(),
            all = StateDict::dict();
  for (std::size_t i = 0; i < size(); ++i) {
    const auto id = static_cast<std::int64_t>(i);
    numbers.append(id);
    if (states_[i].empty()) continue;
    StateDict state = StateDict::dict();
    for (const auto& [name, tensor] : states_[i]) state.set(name, tensor);
    states.set(id, std::cref(state));
  }
  StateDict group = options();
  group.set("params", std::cref(numbers));
  groups.append(std::cref(group));
  all.set("state", std::cref(states));
  all.set("param_groups", std::cref(groups));
  return all;
}

// Returns the saved state of parameter i as new tensors. Empty if nothing was saved for it.
Optimizer::State Optimizer::read_state(std::size_t i, const Value& saved) const {
  State state;
  const Tensor& value = parameters_[i].value();
  for (const std::string_view name : state_names()) {
    const auto found = saved.find(name);
    if (!found || found->is(ValueKind::none)) continue;
    const bool is_step = name == "step";
    const Tensor made =
        empty(is_step ? Dims{} : value.shape(), Dtype::float32, is_step ? kCpu : value.device());
    try {
      if (found->is(ValueKind::tensor)) {
        copy(made, found->tensor());
      } else {
        *floats(made) = static_cast<float>(found->real());  // `step` was an int before PyTorch 1.12
      }
    } catch (Error& error) {
      error.add("for \"" + std::string(name) + "\" of \"" + parameters_[i].name() +
                "\", parameter " + std::to_string(i));
      throw;
    }
    state.emplace_back(name, made);
  }
  if (!state.empty() && state.size() != state_names().size()) {
    throw MismatchError(std::string(kind()) + ": the saved state of parameter " +
                        std::to_string(i) + " is " + str(saved, 200) +
                        ", which belongs to another kind of optimizer");
  }
  return state;
}

void Optimizer::load_state_dict(const Value& source) {
  const Value groups = source.at("param_groups"), saved = source.at("state");
  if (groups.size() != 1) {
    throw MismatchError(std::string(kind()) + ": the saved state has " +
                        std::to_string(groups.size()) +
                        " parameter groups, but this optimizer has 1");
  }
  const Value ids = groups.item(0).at("params");
  if (ids.size() != size()) {
    throw MismatchError(std::string(kind()) + ": the saved state has " +
                        std::to_string(ids.size()) + " parameters, but this optimizer has " +
                        std::to_string(size()));
  }
  // Nothing of this optimizer changes before everything was read and checked.
  std::vector<State> states(size());
  for (std::size_t i = 0; i < size(); ++i) {
    if (const auto found = saved.find(ids.item(i).integer())) states[i] = read_state(i, *found);
  }
  set_options(groups.item(0));
  states_ = std::move(states);
}

void SGD::step() {
  const auto lr = static_cast<float>(options_.lr), momentum = static_cast<float>(options_.momentum);
  for (std::size_t i = 0; i < size(); ++i) {
    if (!parameter(i).grad()) continue;
    require_together(i);
    const Tensor &value = parameter(i).value(), &grad = *parameter(i).grad();
    const float* change = read(grad);
    if (options_.momentum != 0) {
      const Tensor& buffer = state(i, "momentum_buffer");
      launch(value.device(), "transload_momentum_step", value.numel(), floats(buffer), change,
             momentum, value.numel());
      change = read(buffer);
    }
    launch(value.device(), "transload_sgd_step", value.numel(), floats(value), change, lr,
           value.numel());
  }
}

// The options and their order: pytorch torch/optim/sgd.py, 2.13.
StateDict SGD::options() const {
  StateDict group = StateDict::dict();
  group.set("lr", options_.lr);
  group.set("momentum", number(options_.momentum));
  group.set("dampening", std::int64_t{0});
  group.set("weight_decay", std::int64_t{0});
  group.set("nesterov", false);
  group.set("maximize", false);
  group.set("foreach", nullptr);
  group.set("differentiable", false);
  group.set("fused", nullptr);
  return group;
}

void SGD::set_options(const Value& group) {
  for (const char* option : {"dampening", "weight_decay", "nesterov", "maximize"})
    require_off(kind(), group, option);
  options_ = {.lr = group.at("lr").real(), .momentum = real_or(group, "momentum", 0)};
}

void Adam::step() {
  const AdamOptions& o = options_;
  for (std::size_t i = 0; i < size(); ++i) {
    if (!parameter(i).grad()) continue;
    require_together(i);
    const Tensor &value = parameter(i).value(), &grad = *parameter(i).grad();
    const double step = *floats(state(i, "step")) += 1;
    const double correction1 = 1 - std::pow(o.beta1, step),
                 correction2 = 1 - std::pow(o.beta2, step);
    launch(value.device(), "transload_adam_step", value.numel(), floats(value), read(grad),
           floats(state(i, "exp_avg")), floats(state(i, "exp_avg_sq")),
           static_cast<float>(1 - o.beta1), static_cast<float>(o.beta2),
           static_cast<float>(1 - o.beta2), static_cast<float>(o.lr / correction1),
           static_cast<float>(std::sqrt(correction2)), static_cast<float>(o.eps), value.numel());
  }
}

// The options and their order: pytorch torch/optim/adam.py, 2.13.
StateDict Adam::options() const {
  const StateDict betas = StateDict::tuple({options_.beta1, options_.beta2});
  StateDict group = StateDict::dict();
  group.set("lr", options_.lr);
  group.set("betas", std::cref(betas));
  group.set("eps", options_.eps);
  group.set("weight_decay", std::int64_t{0});
  group.set("amsgrad", false);
  group.set("maximize", false);
  group.set("foreach", nullptr);
  group.set("capturable", false);
  group.set("differentiable", false);
  group.set("fused", nullptr);
  group.set("decoupled_weight_decay", false);
  return group;
}

void Adam::set_options(const Value& group) {
  for (const char* option : {"weight_decay", "amsgrad", "maximize"})
    require_off(kind(), group, option);
  const Value betas = group.at("betas");
  options_ = {.lr = group.at("lr").real(),
              .beta1 = betas.item(0).real(),
              .beta2 = betas.item(1).real(),
              .eps = group.at("eps").real()};
}

}  // namespace transload::nn
