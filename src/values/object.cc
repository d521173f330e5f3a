// What a Value says of objects: names of classes, what was called with what, and which values can
// be keys.
#include <string>

#include "transload/error.h"
#include "transload/state_dict.h"
#include "values/keys.h"
#include "values/node_table.h"

namespace transload {
namespace {

void require(const Value& value, bool holds, std::string_view wanted) {
  if (holds) return;
  throw Error("expected " + std::string(wanted) + ", found " + std::string(name(value.kind())) +
              ": " + str(value, 100));
}

}  // namespace

std::complex<double> Value::complex() const {
  if (!is(ValueKind::complex)) return real();
  const auto [re, im] = nodes().as_complex(id_);
  return {re, im};
}

GlobalName Value::global() const {
  require(*this, is(ValueKind::global), "a class or function");
  return {nodes().module_of(id_), nodes().name_of(id_)};
}

ObjectParts Value::object() const {
  require(*this, is(ValueKind::object), "an object");
  const auto items = nodes().items(id_);
  const auto part = [&](ObjectItem which) -> std::optional<Value> {
    if (which >= items.size() || items[which] == kNoNode) return std::nullopt;
    return Value(contents_, items[which]);
  };
  return {.callable = *part(kCallable),
          .arguments = *part(kArguments),
          .list_items = part(kListItems),
          .dict_items = part(kDictItems),
          .state_dict = part(kStateDict),
          .state = attributes(),
          .made = nodes().made(id_)};
}

bool Value::is_hashable() const { return transload::is_hashable(nodes(), id_); }

}  // namespace transload
