// Module: names of parameters, state dicts, and moves between devices.
#include <algorithm>
#include <functional>

#include "nn/tape.h"
#include "transload/nn.h"

namespace transload::nn {
namespace {

std::string joined(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

// Returns an alias of a live tensor for a state dict, like torch's Tensor.detach().
Tensor detached(Tensor tensor) {
  tensor.requires_grad = tensor.is_parameter = false;
  return tensor;
}

// A variable and the tensors it will hold after the move.
struct Moved {
  Variable variable;
  Tensor value;
  std::optional<Tensor> grad;
};

}  // namespace

Variable Module::register_parameter(std::string_view name, Tensor value) {
  require_new(name);
  value.requires_grad = value.is_parameter = true;
  Variable parameter(std::move(value));
  parameter.node()->name = joined(path_, std::string(name));
  parameters_.emplace_back(name, parameter);
  return parameter;
}

Variable Module::register_buffer(std::string_view name, Tensor value) {
  require_new(name);
  Variable buffer(std::move(value));
  buffer.node()->name = joined(path_, std::string(name));
  buffers_.emplace_back(name, buffer);
  return buffer;
}

void Module::register_module(std::string_view name, Module& module) {
  require_new(name);
  modules_.emplace_back(name, &module);
  module.put_below(joined(path_, std::string(name)));
}

void Module::require_new(std::string_view name) const {
  if (name.empty() || name.find('.') != std::string_view::npos) {
    throw Error("\"" + std::string(name) +
                "\" is not a valid name in a module: it is empty or contains a dot");
  }
  const auto has_name = [&](const auto& part) { return part.first == name; };
  if (std::any_of(parameters_.begin(), parameters_.end(), has_name) ||
      std::any_of(buffers_.begin(), buffers_.end(), has_name) ||
      std::any_of(modules_.begin(), modules_.end(), has_name)) {
    throw Error("the module already has a \"" + std::string(name) + "\"");
  }
}

// Prefixes the names of this module's variables and children, because it became the child `name` of
// another module.
void Module::put_below(const std::string& name) {
  path_ = path_.empty() ? name : name + "." + path_;
  for (NamedVariables* variables : {&parameters_, &buffers_}) {
    for (auto& [own_name, variable] : *variables) variable.node()->name = path_ + "." + own_name;
  }
  for (auto& [child_name, child] : modules_) child->put_below(name);
}

void Module::collect(const std::string& prefix, NamedVariables& parameters) const {
  for (const auto& [name, parameter] : parameters_) {
    const bool is_new = std::none_of(
        parameters.begin(), parameters.end(),
        [&node = parameter.node()](const auto& other) { return other.second.node() == node; });
    if (is_new) parameters.emplace_back(joined(prefix, name), parameter);
  }
  for (const auto& [name, module] : modules_) module->collect(joined(prefix, name), parameters);
}

std::vector<std::pair<std::string, Variable>> Module::named_parameters() const {
  NamedVariables all;
  collect("", all);
  return all;
}

std::vector<Variable> Module::parameters() const {
  std::vector<Variable> all;
  for (auto& [name, parameter] : named_parameters()) all.push_back(parameter);
  return all;
}

void Module::zero_grad() {
  for (Variable& parameter : parameters()) parameter.zero_grad();
}

// The order of torch.nn.Module.state_dict: the module's own variables, then those of its children.
// Every module gets an entry in the metadata.
void Module::collect_state(const std::string& prefix, StateDict& state, StateDict& metadata) const {
  StateDict version = StateDict::dict();
  version.set("version", std::int64_t{1});
  metadata.set(prefix, std::cref(version));
  for (const auto* variables : {&parameters_, &buffers_}) {
    for (const auto& [name, variable] : *variables)
      state.set(joined(prefix, name), detached(variable.value()));
  }
  for (const auto& [name, module] : modules_)
    module->collect_state(joined(prefix, name), state, metadata);
}

StateDict Module::state_dict() const {
  StateDict state, metadata;
  collect_state("", state, metadata);
  state.set_attribute("_metadata", std::cref(metadata));
  return state;
}

FillResult Module::load_state_dict(const StateDict& source, const FillOptions& options) {
  return transload::load_state_dict(state_dict(), source, options);
}

FillResult load_into(Module& model, const std::filesystem::path& path, const FillOptions& options) {
  return transload::load_into(model.state_dict(), path, options);
}

void Module::collect_variables(std::vector<Variable>& variables) const {
  for (const auto* own : {&parameters_, &buffers_}) {
    for (const auto& [name, variable] : *own) variables.push_back(variable);
  }
  for (const auto& [name, module] : modules_) module->collect_variables(variables);
}

// Copies everything before it replaces anything, so that a failure leaves the module as it was.
void Module::to(Device device) {
  std::vector<Variable> variables;
  collect_variables(variables);
  std::vector<Moved> all;
  for (const Variable& variable : variables) {
    Moved moved{variable, transload::to(variable.value(), device), variable.grad()};
    if (moved.grad) moved.grad = transload::to(*moved.grad, device);
    all.push_back(std::move(moved));
  }
  for (Moved& moved : all) {
    moved.variable.node()->value = std::move(moved.value);
    moved.variable.node()->grad = std::move(moved.grad);
  }
}

void Module::set_training(bool value) {
  is_training_ = value;
  for (const auto& [name, module] : modules_) module->set_training(value);
}

}  // namespace transload::nn
