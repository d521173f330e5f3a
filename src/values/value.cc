// Value: a handle into a table of values that reads one of them.
#include "transload/error.h"
#include "transload/state_dict.h"
#include "values/contents.h"
#include "values/paths.h"
#include "values/value_text.h"
#include "values/walk.h"

namespace transload {
namespace {

void require(const Value& value, bool holds, std::string_view expected) {
  if (holds) return;
  throw Error("expected " + std::string(expected) + ", found " + std::string(name(value.kind())) +
              ": " + str(value, 100));
}

// Throws Error if a container of `size` items has no item i.
void require_item(std::size_t i, std::size_t size) {
  if (i >= size)
    throw Error("there is no item " + std::to_string(i) + " in a container of " +
                std::to_string(size));
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

Value::Value(const StateDict& state, std::uint32_t id) : contents_(state.contents_), id_(id) {}

const NodeTable& Value::nodes() const { return *contents_->nodes; }
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
                              : contents_->storages[row.storage];
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
  require_item(i, size());
  return {contents_, nodes().items(id_)[i]};
}

std::pair<Value, Value> Value::entry(std::size_t i) const {
  require(*this, is_dict(), "a dict");
  require_item(i, size());
  const auto entries = nodes().entries(id_);
  return {{contents_, entries[2 * i]}, {contents_, entries[2 * i + 1]}};
}

std::optional<Value> Value::find(std::string_view key) const {
  require(*this, is_dict(), "a dict");
  const NodeId found = nodes().find(id_, key);
  if (found == kNoNode) return std::nullopt;
  return Value(contents_, found);
}

std::optional<Value> Value::find(std::int64_t key) const {
  require(*this, is_dict(), "a dict");
  const NodeId found = nodes().find(id_, key);
  if (found == kNoNode) return std::nullopt;
  return Value(contents_, found);
}

Value Value::at(std::string_view key) const {
  if (auto found = find(key)) return std::move(*found);
  throw Error(missing_key(nodes(), id_, key));
}

Value Value::at(std::int64_t key) const {
  if (auto found = find(key)) return std::move(*found);
  throw Error(missing_key(nodes(), id_, std::to_string(key)));
}

Value Value::at_path(std::string_view path) const {
  const NodeId found = find_path(nodes(), id_, path);
  if (found == kNoNode) throw Error(missing_path(nodes(), id_, path));
  return {contents_, found};
}

std::optional<Value> Value::attributes() const {
  const NodeId found = nodes().attributes(id_);
  if (found == kNoNode) return std::nullopt;
  return Value(contents_, found);
}

}  // namespace transload
