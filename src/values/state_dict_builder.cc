// StateDictBuilder: a StateDict's own table of values, filled by handle instead of at the root.
#include "transload/state_dict_builder.h"

#include <string>
#include <utility>

#include "transload/error.h"
#include "values/keys.h"
#include "values/node_table.h"

namespace transload {
namespace {

using Handle = StateDictBuilder::Handle;

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

// StateDict lets this class use its own functions that add values and number storages.
struct StateDictBuilder::Content {
  StateDict state;
  NodeTable& nodes() { return state.own_nodes(); }

  NodeId node(Handle handle) {
    const auto node = static_cast<NodeId>(handle);
    if (node >= nodes().size())
      throw Error("a handle of another StateDictBuilder, or from before build()");
    return node;
  }

  std::vector<NodeId> nodes_of(std::span<const Handle> handles) {
    std::vector<NodeId> made;
    made.reserve(handles.size());
    for (const Handle handle : handles) made.push_back(node(handle));
    return made;
  }

  // The node of a container that can take more.
  template <class Accepts>
  NodeId container(Handle handle, std::string_view wanted, const Accepts& accepts) {
    const NodeId found = node(handle);
    if (!accepts(nodes().kind(found)))
      throw Error("expected " + std::string(wanted) + ", found " +
                  std::string(name(nodes().kind(found))));
    return found;
  }

  NodeId dict_like(Handle handle) {
    return container(handle, "a dict or an object",
                     [](ValueKind kind) { return is_dict(kind) || kind == ValueKind::object; });
  }
};

StateDictBuilder::StateDictBuilder() : content_(std::make_unique<Content>()) {}
StateDictBuilder::~StateDictBuilder() = default;
StateDictBuilder::StateDictBuilder(StateDictBuilder&&) noexcept = default;
StateDictBuilder& StateDictBuilder::operator=(StateDictBuilder&&) noexcept = default;

Handle StateDictBuilder::add(const Item& item) { return Handle{content_->state.add(item)}; }

Handle StateDictBuilder::big_integer(std::span<const std::byte> value) {
  return Handle{content_->nodes().big_integer(value)};
}

Handle StateDictBuilder::complex(std::complex<double> value) {
  return Handle{content_->nodes().complex(value.real(), value.imag())};
}

Handle StateDictBuilder::bytes(std::span<const std::byte> value) {
  return Handle{content_->nodes().bytes(as_text(value))};
}

Handle StateDictBuilder::bytearray(std::span<const std::byte> value) {
  return Handle{content_->nodes().bytearray(as_text(value))};
}

Handle StateDictBuilder::device(std::string_view name) {
  return Handle{content_->nodes().device(name)};
}

Handle StateDictBuilder::global(std::string_view module, std::string_view name) {
  return Handle{content_->nodes().global(module, name)};
}

Handle StateDictBuilder::storage(const Storage& storage, Dtype dtype) {
  const std::uint32_t number = content_->state.number_of(storage);
  return Handle{content_->nodes().storage(number, dtype, storage.nbytes() / itemsize(dtype))};
}

Handle StateDictBuilder::list() { return Handle{content_->nodes().container(ValueKind::list)}; }
Handle StateDictBuilder::set() { return Handle{content_->nodes().container(ValueKind::set)}; }
Handle StateDictBuilder::dict() { return Handle{content_->nodes().container(ValueKind::dict)}; }

Handle StateDictBuilder::ordered_dict() {
  return Handle{content_->nodes().container(ValueKind::ordered_dict)};
}

Handle StateDictBuilder::tuple(std::span<const Handle> items) {
  return Handle{content_->nodes().sequence(ValueKind::tuple, content_->nodes_of(items))};
}

Handle StateDictBuilder::size(std::span<const Handle> items) {
  return Handle{content_->nodes().sequence(ValueKind::size, content_->nodes_of(items))};
}

Handle StateDictBuilder::frozenset(std::span<const Handle> items) {
  return Handle{content_->nodes().sequence(ValueKind::frozenset, content_->nodes_of(items))};
}

Handle StateDictBuilder::object(Handle callable, Handle arguments, Made made) {
  return Handle{
      content_->nodes().object(content_->node(callable), content_->node(arguments), made)};
}

void StateDictBuilder::append(Handle list, std::span<const Handle> items) {
  const NodeId to = content_->container(list, "a list, a set or an object", [](ValueKind kind) {
    return kind == ValueKind::list || kind == ValueKind::set || kind == ValueKind::object;
  });
  content_->nodes().append(to, content_->nodes_of(items));
}

void StateDictBuilder::append(Handle list, const Item& item) {
  const Handle added = add(item);
  append(list, {&added, 1});
}

void StateDictBuilder::set(Handle dict, Handle key, Handle value) {
  const NodeId to = content_->dict_like(dict);
  if (!can_be_key(key)) {
    throw Error("a key of type " + std::string(name(content_->nodes().kind(content_->node(key)))) +
                "; keys can be None, bool, int, float, str, bytes and tuples of them");
  }
  content_->nodes().set(to, content_->node(key), content_->node(value));
}

void StateDictBuilder::set(Handle dict, std::string_view key, Handle value) {
  content_->dict_like(dict);  // before the key is added
  set(dict, Handle{content_->nodes().text(key)}, value);
}

void StateDictBuilder::set(Handle dict, std::string_view key, const Item& item) {
  set(dict, key, add(item));
}

void StateDictBuilder::set(Handle dict, std::int64_t key, const Item& item) {
  set(dict, add(key), add(item));
}

bool StateDictBuilder::can_be_key(Handle value) const {
  return transload::can_be_key(content_->nodes(), content_->node(value));
}

void StateDictBuilder::set_attributes(Handle value, Handle attributes) {
  const NodeId of =
      content_->container(value, "an OrderedDict, a tensor or an object", [](ValueKind kind) {
        return kind == ValueKind::ordered_dict || kind == ValueKind::tensor ||
               kind == ValueKind::object;
      });
  NodeTable& nodes = content_->nodes();
  if (nodes.kind(of) != ValueKind::object)
    content_->container(attributes, "a dict of attributes",
                        [](ValueKind kind) { return is_dict(kind); });
  nodes.set_attributes(of, content_->node(attributes));
}

StateDict StateDictBuilder::build(Handle root) {
  content_->nodes().root = content_->node(root);
  StateDict built = std::move(content_->state);
  content_ = std::make_unique<Content>();
  return built;
}

}  // namespace transload
