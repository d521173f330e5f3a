// Backpropagation: walks the recorded operations from the last variable back to the leaves, each
// once.
#include "nn/tape.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "nn/launch.h"
#include "nn/operands.h"

namespace transload::nn {
namespace {

using Node = Variable::Node;

void add_to(std::optional<Tensor>& sum, const Tensor& term) {
  if (!sum) {
    sum = term;
    return;
  }
  launch(sum->device(), "transload_add", sum->numel(), floats(*sum),
         static_cast<const float*>(floats(term)), sum->numel());
}

void add_to_leaf(Node& leaf, const Tensor& gradient) {
  require_together({"backward()"}, {{"a leaf", leaf.value, leaf.name}, {"its gradient", gradient}});
  add_to(leaf.grad, gradient);
}

// Returns all nodes that `last` was computed from, each result before its inputs.
std::vector<Node*> backwards_from(Node* last) {
  std::vector<Node*> nodes{last};
  std::unordered_set<Node*> seen{last};
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (const Input& input : nodes[i]->inputs) {
      Node* const node = input.variable.node().get();
      if (seen.insert(node).second) nodes.push_back(node);
    }
  }
  std::stable_sort(nodes.begin(), nodes.end(),
                   [](const Node* a, const Node* b) { return a->depth > b->depth; });
  return nodes;
}

}  // namespace

Variable::Variable(Tensor value) : node_(std::make_shared<Node>()) {
  node_->value = std::move(value);
}

const Tensor& Variable::value() const { return node_->value; }
bool Variable::requires_grad() const { return node_->value.requires_grad; }
const std::string& Variable::name() const { return node_->name; }
const std::optional<Tensor>& Variable::grad() const { return node_->grad; }
void Variable::zero_grad() { node_->grad.reset(); }

float Variable::item() const {
  if (value().numel() != 1 || value().dtype() != Dtype::float32) {
    throw Error("item(): a " + describe(value()) + " is not a single float32 number");
  }
  float number;
  std::memcpy(&number, element_bytes(value()).data(), sizeof number);
  return number;
}

void Variable::backward() const {
  if (value().numel() != 1)
    throw Error("backward(): a " + describe(value()) + " is not a single number");
  if (!requires_grad())
    throw Error(
        "backward(): none of the leaves that this variable was computed from requires a gradient");
  std::unordered_map<Node*, std::optional<Tensor>> gradients;
  gradients[node_.get()] = full(value().shape(), 1, value().device());
  for (Node* const node : backwards_from(node_.get())) {
    const Tensor gradient = *std::exchange(gradients[node], std::nullopt);
    if (node->inputs.empty()) add_to_leaf(*node, gradient);
    for (const Input& input : node->inputs)
      add_to(gradients[input.variable.node().get()], input.gradient(gradient));
  }
}

Variable record(Tensor value, std::initializer_list<Input> inputs) {
  Variable result(std::move(value));
  Node& node = *result.node();
  // Inputs without a gradient are not kept, so their tensors can be freed.
  for (const Input& input : inputs) {
    if (!input.variable.requires_grad()) continue;
    node.inputs.push_back(input);
    node.depth = std::max(node.depth, input.variable.node()->depth + 1);
  }
  node.value.requires_grad = !node.inputs.empty();
  return result;
}

Tensor full(const Dims& shape, float value, Device device) {
  const Tensor made = empty(shape, Dtype::float32, device);
  launch(device, "transload_fill", made.numel(), floats(made), value, made.numel());
  return made;
}

}  // namespace transload::nn
