// Facts: torch/_utils.py, torch/_tensor.py, torch/serialization.py of PyTorch 2.13; docs/formats/torch_zip.md lists them.
#include "pickle/rebuild.h"

#include <algorithm>

#include "pickle/plain_calls.h"
#include "pickle/refused.h"
#include "transload/error.h"

namespace transload {
namespace {

constexpr std::size_t kMaxArguments = 16;  // more than any function in the table has

// torch/serialization.py, _get_layout
void check_layout(const NodeTable& nodes, NodeId arguments) {
  constexpr std::string_view kLayouts[] = {
      "torch.strided",    "torch.sparse_coo", "torch.sparse_csr", "torch.sparse_csc",
      "torch.sparse_bsr", "torch.sparse_bsc", "torch._mkldnn",    "torch.jagged"};
  const auto a = nodes.items(arguments);
  const bool is_known = a.size() == 1 && nodes.kind(a[0]) == ValueKind::text &&
                        std::ranges::find(kLayouts, nodes.as_text(a[0])) != std::end(kLayouts);
  if (!is_known) throw FormatError("the argument of _get_layout is not a layout of torch");
}

}  // namespace

NodeId TorchObjects::global(std::string_view module, std::string_view name) {
  if (module == "torch") {
    if (const auto dtype = dtype_from_name(name)) return nodes_.dtype(*dtype);
  }
  if (!options_.keep_calls) {
    if (const auto refused = refused_mention(module, name)) throw refusal_of(*refused, where_);
  }
  return nodes_.global(module, name);
}

Constructor TorchObjects::constructor_of_node(NodeId callable) {
  if (!is(callable, ValueKind::global)) return Constructor::none;
  const auto [at, is_new] = constructors_.try_emplace(callable, Constructor::none);
  if (is_new) at->second = constructor_of(nodes_.module_of(callable), nodes_.name_of(callable));
  return at->second;
}

NodeId TorchObjects::call(NodeId callable, NodeId arguments, Made made) {
  if (made == Made::by_new_with_keywords || nodes_.items(arguments).size() > kMaxArguments)
    return inert(callable, arguments, made);
  const std::vector<NodeId> a = copy_of(arguments);
  const Constructor constructor = constructor_of_node(callable);
  NodeId value;
  switch (constructor) {
    case Constructor::tensor_v0:
    case Constructor::tensor_v2:
    case Constructor::tensor_v3:
      return tensors_.make_tensor(a, constructor);
    case Constructor::meta_tensor:
      return tensors_.make_meta_tensor(a);
    case Constructor::parameter:
    case Constructor::variable:
      if (a.empty()) return inert(callable, arguments, made);  // its state is the whole of it
      value = constructor == Constructor::parameter ? tensors_.make_parameter(a)
                                                    : tensors_.make_variable(a);
      if (a.size() == 1) expecting_state_.insert(value);
      return value;
    case Constructor::type_tag:
      if (!a.empty()) return a[0];
      return inert(callable, arguments, made);
    case Constructor::parameter_with_state:
      return make_parameter_with_state(a);
    case Constructor::from_type:
      value = make_from_type(a);
      break;
    default:
      value = make_plain_value(nodes_, constructor, a);
  }
  return value != kNoNode ? value : inert(callable, arguments, made);
}

// (tensor, requires_grad, hooks, state)
NodeId TorchObjects::make_parameter_with_state(std::span<const NodeId> a) {
  const NodeId parameter = tensors_.make_parameter(a);
  if (a.size() > 3) tensors_.set_state(parameter, a[3]);
  return parameter;
}

// (function, class, arguments, state): what the function makes, with attributes. kNoNode: of another class than PyTorch's own.
NodeId TorchObjects::make_from_type(std::span<const NodeId> a) {
  const bool is_plain = a.size() == 4 && is(a[1], ValueKind::global) &&
                        nodes_.module_of(a[1]).starts_with("torch") &&
                        (nodes_.name_of(a[1]) == "Tensor" || nodes_.name_of(a[1]) == "Parameter");
  // A pickle may nest these calls without end, PyTorch does not.
  if (!is_plain || !is(a[2], ValueKind::tuple) ||
      constructor_of_node(a[0]) == Constructor::from_type)
    return kNoNode;
  const NodeId tensor = call(a[0], a[2], Made::by_call);
  tensors_.set_state(tensor, a[3]);
  return tensor;
}

NodeId TorchObjects::inert(NodeId callable, NodeId arguments, Made made) {
  if (!is(callable, ValueKind::global)) {
    throw FormatError("a value of type " + std::string(name(nodes_.kind(callable))) +
                      " is called, expected the name of a class or function");
  }
  refuse_call(callable, arguments, made);
  const Constructor constructor = constructor_of_node(callable);
  if (constructor == Constructor::layout) check_layout(nodes_, arguments);
  refuse_objects(callable);
  const NodeId object = nodes_.object(callable, arguments, made);
  if (made != Made::by_call || nodes_.items(arguments).size() > kMaxArguments) return object;
  const std::vector<NodeId> a = copy_of(arguments);
  const Constructor function = constructor == Constructor::from_type && !a.empty()
                                   ? constructor_of_node(a[0])
                                   : Constructor::none;
  nodes_.set_parts(object, parts_.parts_of(constructor, a, function));
  return object;
}

void TorchObjects::refuse_call(NodeId callable, NodeId arguments, Made made) const {
  if (options_.keep_calls) return;
  if (const auto refused = refused_call(nodes_, callable, arguments, made))
    throw refusal_of(*refused, where_);
}

void TorchObjects::refuse_objects(NodeId callable) const {
  if (!options_.refuse_objects) return;
  if (const auto refused = refused_object(nodes_.module_of(callable), nodes_.name_of(callable)))
    throw refusal_of(*refused, where_);
}

// The states of tensors, Parameters and Variables before PyTorch 0.4. The value changes where it is: others refer to it.
bool TorchObjects::set_old_state(NodeId target, NodeId state) {
  if (!is(state, ValueKind::tuple)) return false;
  const std::vector<NodeId> s = copy_of(state);
  if (expecting_state_.contains(target)) {  // (requires_grad, volatile, hooks)
    if (s.size() != 3 || !is(s[1], ValueKind::boolean)) return false;
    tensors_.set_requires_grad(target, s[0]);
    expecting_state_.erase(target);
    return true;
  }
  if (!is(target, ValueKind::object) || !nodes_.items(nodes_.items(target)[kArguments]).empty())
    return false;
  switch (constructor_of_node(nodes_.items(target)[kCallable])) {
    case Constructor::tensor_class:  // (storage, storage offset, shape, stride)
      nodes_.become(target, tensors_.make_tensor(s, Constructor::tensor_v0));
      return true;
    case Constructor::parameter:
    case Constructor::variable: {  // (tensor, creator, hooks, requires_grad, volatile)
      if (s.size() != 5) return false;
      const bool is_parameter =
          constructor_of_node(nodes_.items(target)[kCallable]) == Constructor::parameter;
      const NodeId made =
          is_parameter ? tensors_.make_parameter(std::span(s).first(1)) : tensors_.make_variable(s);
      tensors_.set_requires_grad(made, s[3]);
      nodes_.become(target, made);
      return true;
    }
    default:
      return false;
  }
}

void TorchObjects::build(NodeId target, NodeId state) {
  if (set_old_state(target, state)) return;
  const bool has_state = is(target, ValueKind::object) ||
                         // Its __dict__: `_metadata` of a state dict
                         (is(target, ValueKind::ordered_dict) && is_dict(nodes_.kind(state)));
  if (!has_state) {
    throw FormatError("the state of a value of type " + std::string(name(nodes_.kind(target))) +
                      " is set to a value of type " + std::string(name(nodes_.kind(state))) +
                      ", expected an object, or an OrderedDict and a dict");
  }
  nodes_.set_attributes(target, state);
}

}  // namespace transload
