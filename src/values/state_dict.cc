// StateDict and Value: handles into the table of nodes.
#include "transload/state_dict.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "transload/error.h"
#include "types/nearest.h"
#include "values/node_table.h"

namespace transload {
namespace {

using Numbers = std::unordered_map<const void*, std::uint32_t>;

[[noreturn]] void wrong_kind(const Value& value, std::string_view wanted) {
  throw Error("expected " + std::string(wanted) + ", found " + std::string(name(value.kind())) +
              ": " + str(value, 100));
}

void require(const Value& value, bool holds, std::string_view wanted) {
  if (!holds) wrong_kind(value, wanted);
}

std::string missing_key(const Value& dict, std::string_view key) {
  std::string text = "no key \"" + std::string(key) + "\"";
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < std::min<std::size_t>(dict.size(), 4000); ++i) {
    const Value k = dict.entry(i).first;
    if (k.is(ValueKind::text)) keys.emplace_back(k.text());
  }
  if (const std::string_view near = nearest(key, keys); !near.empty())
    return text + "; did you mean \"" + std::string(near) + "\"?";
  text += "; there are " + std::to_string(dict.size()) + " keys";
  for (std::size_t i = 0; i < std::min<std::size_t>(dict.size(), 5); ++i) {
    text += (i ? ", " : ": ") + str(dict.entry(i).first, 60);
  }
  return text + (dict.size() > 5 ? ", …" : "");
}

}  // namespace

std::string_view name(ValueKind kind) {
  switch (kind) {
    case ValueKind::none:
      return "None";
    case ValueKind::boolean:
      return "bool";
    case ValueKind::integer:
    case ValueKind::big_integer:
      return "int";
    case ValueKind::real:
      return "float";
    case ValueKind::complex:
      return "complex";
    case ValueKind::text:
      return "str";
    case ValueKind::bytes:
      return "bytes";
    case ValueKind::bytearray:
      return "bytearray";
    case ValueKind::list:
      return "list";
    case ValueKind::tuple:
      return "tuple";
    case ValueKind::size:
      return "torch.Size";
    case ValueKind::set:
      return "set";
    case ValueKind::frozenset:
      return "frozenset";
    case ValueKind::dict:
      return "dict";
    case ValueKind::ordered_dict:
      return "OrderedDict";
    case ValueKind::dtype:
      return "torch.dtype";
    case ValueKind::device:
      return "torch.device";
    case ValueKind::global:
      return "class or function";
    case ValueKind::object:
      return "object";
    case ValueKind::tensor:
      return "Tensor";
    case ValueKind::storage:
      return "storage";
  }
  return "?";
}

const NodeTable& Value::nodes() const { return state_->nodes(); }
ValueKind Value::kind() const { return nodes().kind(id_); }

bool Value::boolean() const {
  require(*this, is(ValueKind::boolean), "a bool");
  return nodes().as_boolean(id_);
}

std::int64_t Value::integer() const {
  require(*this, is(ValueKind::integer), "an int of at most 64 bits");
  return nodes().as_integer(id_);
}

double Value::real() const {
  require(*this, is(ValueKind::real) || is(ValueKind::integer), "a float");
  return nodes().as_real(id_);
}

std::string_view Value::text() const {
  require(*this, is(ValueKind::text) || is(ValueKind::device), "a text");
  return nodes().as_text(id_);
}

std::span<const std::byte> Value::bytes() const {
  require(*this, is(ValueKind::bytes) || is(ValueKind::bytearray) || is(ValueKind::big_integer),
          "bytes");
  const std::string_view text = nodes().as_text(id_);
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

Dtype Value::dtype() const {
  if (is(ValueKind::tensor)) return nodes().row(id_).dtype;
  require(*this, is(ValueKind::dtype) || is(ValueKind::storage), "a torch.dtype");
  return nodes().as_dtype(id_);
}

std::uint32_t Value::storage_number() const {
  require(*this, is(ValueKind::tensor) || is(ValueKind::storage), "a tensor");
  return nodes().storage_number(id_);
}

Tensor Value::tensor() const {
  require(*this, is(ValueKind::tensor), "a tensor");
  const TensorRow& row = nodes().row(id_);
  const Dims shape(nodes().shape(id_));
  const Dims stride(nodes().stride(id_));
  // A meta tensor that was saved without a storage gets one that is large enough for anything.
  const Storage storage = row.storage == TensorRow::kNoStorage
                              ? Storage(kMeta, nullptr, ~std::uint64_t{0}, nullptr)
                              : state_->storages()[row.storage];
  Tensor tensor(storage, row.dtype, shape, stride, row.storage_offset);
  tensor.requires_grad = row.requires_grad;
  tensor.is_parameter = row.is_parameter;
  tensor.conj = row.conj;
  tensor.neg = row.neg;
  return tensor;
}

std::size_t Value::size() const {
  if (is_dict()) return nodes().entries(id_).size() / 2;
  if (is(ValueKind::object)) return 2;
  require(*this, is_sequence(kind()), "a container");
  return nodes().items(id_).size();
}

Value Value::item(std::size_t i) const {
  require(*this, is_sequence(kind()) || is(ValueKind::object), "a list or tuple");
  if (i >= size()) throw Error("item " + std::to_string(i) + " of " + std::to_string(size()));
  return {*state_, nodes().items(id_)[i]};
}

std::pair<Value, Value> Value::entry(std::size_t i) const {
  require(*this, is_dict(), "a dict");
  if (i >= size()) throw Error("entry " + std::to_string(i) + " of " + std::to_string(size()));
  const auto entries = nodes().entries(id_);
  return {{*state_, entries[2 * i]}, {*state_, entries[2 * i + 1]}};
}

std::optional<Value> Value::find(std::string_view key) const {
  require(*this, is_dict(), "a dict");
  const NodeId found = nodes().find(id_, key);
  if (found == kNoNode) return std::nullopt;
  return Value(*state_, found);
}

std::optional<Value> Value::find(std::int64_t key) const {
  require(*this, is_dict(), "a dict");
  for (std::size_t i = 0; i < size(); ++i) {
    const auto [k, value] = entry(i);
    if (k.is(ValueKind::integer) && k.integer() == key) return value;
  }
  return std::nullopt;
}

Value Value::at(std::string_view key) const {
  if (const auto found = find(key)) return *found;
  throw Error(missing_key(*this, key));
}

Value Value::at(std::int64_t key) const {
  if (const auto found = find(key)) return *found;
  throw Error(missing_key(*this, std::to_string(key)));
}

std::optional<Value> Value::attributes() const {
  const NodeId found = nodes().attributes(id_);
  if (found == kNoNode) return std::nullopt;
  return Value(*state_, found);
}

StateDict::StateDict() : StateDict(std::make_shared<NodeTable>(), {}) {
  nodes_->root = nodes_->container(ValueKind::ordered_dict);
}

StateDict::StateDict(std::shared_ptr<NodeTable> nodes, std::vector<Storage> storages)
    : nodes_(std::move(nodes)),
      storages_(std::make_shared<std::vector<Storage>>(std::move(storages))) {}

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
  made.nodes_->root = made.nodes_->sequence(ValueKind::tuple, parts);
  return made;
}

Value StateDict::root() const { return {*this, nodes_->root}; }

Tensor StateDict::tensor(std::string_view path) const {
  // The longest key that fits comes first: a key may itself hold a '/'.
  Value at = root();
  std::string_view rest = path;
  while (true) {
    if (const auto whole = at.find(rest)) return whole->tensor();
    const std::size_t slash = rest.find('/');
    if (slash == std::string_view::npos) return at.at(rest).tensor();
    at = at.at(rest.substr(0, slash));
    rest.remove_prefix(slash + 1);
  }
}

NodeTable& StateDict::own_nodes() {
  if (nodes_.use_count() > 1) nodes_ = std::make_shared<NodeTable>(*nodes_);
  if (storages_.use_count() > 1) storages_ = std::make_shared<std::vector<Storage>>(*storages_);
  if (numbers_.use_count() > 1)
    numbers_ = std::make_shared<Numbers>(*static_cast<Numbers*>(numbers_.get()));
  return *nodes_;
}

std::uint32_t StateDict::number_of(const Storage& storage) {
  if (!numbers_) {
    auto numbers = std::make_shared<Numbers>();
    for (std::uint32_t i = 0; i < storages_->size(); ++i)
      numbers->try_emplace((*storages_)[i].identity(), i);
    numbers_ = std::move(numbers);
  }
  auto& numbers = *static_cast<Numbers*>(numbers_.get());
  const void* identity = storage.identity();
  const auto next = static_cast<std::uint32_t>(storages_->size());
  if (identity) {
    const auto [found, is_new] = numbers.try_emplace(identity, next);
    if (!is_new) return found->second;
  }
  storages_->push_back(storage);
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
      const StateDict source = other.get();  // a copy: it may be this one
      std::vector<std::uint32_t> numbers;
      for (const Storage& storage : source.storages()) numbers.push_back(state.number_of(storage));
      return state.own_nodes().copy(source.nodes(), source.nodes().root, numbers);
    }
  };
  return std::visit(Adder{*this, nodes}, item);
}

void StateDict::set(std::string_view key, const Item& item) {
  require(root(), root().is_dict(), "a dict to set \"" + std::string(key) + "\" in");
  const NodeId value = add(item);
  NodeTable& nodes = own_nodes();
  nodes.set(nodes.root, nodes.text(key), value);
}

void StateDict::set(std::int64_t key, const Item& item) {
  require(root(), root().is_dict(), "a dict to set " + std::to_string(key) + " in");
  const NodeId value = add(item);
  NodeTable& nodes = own_nodes();
  nodes.set(nodes.root, nodes.integer(key), value);
}

void StateDict::append(const Item& item) {
  require(root(), root().is(ValueKind::list), "a list to append to");
  const NodeId value = add(item);
  NodeTable& nodes = own_nodes();
  nodes.append(nodes.root, {&value, 1});
}

void StateDict::set_attribute(std::string_view attribute, const Item& item) {
  require(root(), root().is(ValueKind::ordered_dict), "an OrderedDict to give an attribute");
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
  if (storages.size() != storages_->size()) {
    throw Error("a state dict over " + std::to_string(storages_->size()) + " storages was given " +
                std::to_string(storages.size()));
  }
  return {nodes_, std::move(storages)};
}

}  // namespace transload
