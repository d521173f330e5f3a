// StateDict: owner of a table of values and of the storages under its tensors. Copies share both
// until one is changed.
#include "transload/state_dict.h"

#include "transload/error.h"
#include "values/contents.h"

namespace transload {
namespace {

ValueKind root_kind(const StateDict& state) { return state.nodes().kind(state.nodes().root); }

[[noreturn]] void fail(const StateDict& state, const std::string& expected) {
  const Value root = state.root();
  throw Error("expected " + expected + ", found " + std::string(name(root.kind())) + ": " +
              str(root, 100));
}

}  // namespace

StateDict::StateDict() : StateDict(std::make_shared<NodeTable>(), {}) {
  NodeTable& nodes = *contents_->nodes;
  nodes.root = nodes.container(ValueKind::ordered_dict);
}

StateDict::StateDict(std::shared_ptr<NodeTable> nodes, std::vector<Storage> storages)
    : contents_(
          std::make_shared<StateContents>(StateContents{std::move(nodes), std::move(storages)})) {}

StateDict StateDict::dict() {
  auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::dict);
  return {std::move(nodes), {}};
}

StateDict StateDict::list() {
  auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::list);
  return {std::move(nodes), {}};
}

StateDict StateDict::tuple(const std::vector<Item>& items) {
  StateDict made(std::make_shared<NodeTable>(), {});
  std::vector<NodeId> parts;
  for (const Item& item : items) parts.push_back(made.add(item));
  NodeTable& nodes = *made.contents_->nodes;
  nodes.root = nodes.sequence(ValueKind::tuple, parts);
  return made;
}

Value StateDict::root() const { return {contents_, contents_->nodes->root}; }
const NodeTable& StateDict::nodes() const { return *contents_->nodes; }
std::span<const Storage> StateDict::storages() const { return contents_->storages; }

StateContents& StateDict::own_contents() {
  if (contents_.use_count() > 1) contents_ = std::make_shared<StateContents>(*contents_);
  return *contents_;
}

NodeTable& StateDict::own_nodes() {
  std::shared_ptr<NodeTable>& nodes = own_contents().nodes;
  if (nodes.use_count() > 1) nodes = std::make_shared<NodeTable>(*nodes);
  return *nodes;
}

// The number of a storage, which is added if it is new.
std::uint32_t StateDict::number_of(const Storage& storage) {
  auto& [nodes, storages, numbers] = own_contents();
  const auto next = static_cast<std::uint32_t>(storages.size());
  if (numbers.empty()) {
    for (std::uint32_t i = 0; i < next; ++i) numbers.try_emplace(storages[i].identity(), i);
  }
  if (const void* const identity = storage.identity()) {
    const auto [found, is_new] = numbers.try_emplace(identity, next);
    if (!is_new) return found->second;
  }
  storages.push_back(storage);
  return next;
}

std::uint32_t StateDict::add(const Item& item) {
  NodeTable& nodes = own_nodes();
  struct Adder {
    StateDict& state;
    NodeTable& nodes;
    NodeId operator()(std::nullptr_t) const { return nodes.none(); }
    NodeId operator()(bool value) const { return nodes.boolean(value); }
    NodeId operator()(std::int64_t value) const { return nodes.integer(value); }
    NodeId operator()(double value) const { return nodes.real(value); }
    NodeId operator()(const std::string& value) const { return nodes.text(value); }
    NodeId operator()(Dtype value) const { return nodes.dtype(value); }
    NodeId operator()(Device value) const { return nodes.device(value.str()); }
    NodeId operator()(const Tensor& t) const {
      TensorRow row;
      row.storage = state.number_of(t.storage());
      row.dtype = t.dtype();
      row.requires_grad = t.requires_grad;
      row.is_parameter = t.is_parameter;
      row.conj = t.conj;
      row.neg = t.neg;
      row.storage_offset = t.storage_offset();
      return nodes.tensor(row, t.shape(), t.stride());
    }
    NodeId operator()(std::reference_wrapper<const StateDict> other) const {
      const StateDict source =
          other.get();  // shares what it copies: `other` may be the one that changes
      std::vector<std::uint32_t> numbers;
      for (const Storage& storage : source.storages()) numbers.push_back(state.number_of(storage));
      return state.own_nodes().copy(source.nodes(), source.nodes().root, numbers);
    }
  };
  return std::visit(Adder{*this, nodes}, item);
}

void StateDict::set(std::string_view key, const Item& item) {
  if (!is_dict(root_kind(*this)))
    fail(*this, "a dict at the root to set \"" + std::string(key) + "\" in");
  const NodeId value = add(item);
  NodeTable& nodes = own_nodes();
  nodes.set(nodes.root, nodes.text(key), value);
}

void StateDict::set(std::int64_t key, const Item& item) {
  if (!is_dict(root_kind(*this)))
    fail(*this, "a dict at the root to set " + std::to_string(key) + " in");
  const NodeId value = add(item);
  NodeTable& nodes = own_nodes();
  nodes.set(nodes.root, nodes.integer(key), value);
}

void StateDict::append(const Item& item) {
  if (root_kind(*this) != ValueKind::list) fail(*this, "a list at the root to append to");
  const NodeId value = add(item);
  NodeTable& nodes = own_nodes();
  nodes.append(nodes.root, {&value, 1});
}

void StateDict::set_attribute(std::string_view attribute, const Item& item) {
  if (root_kind(*this) != ValueKind::ordered_dict)
    fail(*this, "an OrderedDict at the root to set an attribute of");
  const NodeId value = add(item);
  NodeTable& nodes = own_nodes();
  NodeId attributes = nodes.attributes(nodes.root);
  if (attributes == kNoNode) {
    attributes = nodes.container(ValueKind::dict);
    nodes.set_attributes(nodes.root, attributes);
  }
  nodes.set(attributes, nodes.text(attribute), value);
}

StateDict StateDict::over(std::vector<Storage> storages) const {
  const std::size_t count = contents_->storages.size();
  if (storages.size() != count) {
    throw Error("over() was given " + std::to_string(storages.size()) +
                " storages for a state dict over " + std::to_string(count));
  }
  return {contents_->nodes, std::move(storages)};
}

}  // namespace transload
