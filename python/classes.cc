#include "classes.h"

#include <set>
#include <tuple>
#include <vector>

namespace transload::python {
namespace {

constexpr std::size_t kMostOfLong1 = 255;  // bytes of an int that pickle writes as LONG1

class ClassFinder {
 public:
  nb::list run(const Value& root) {
    enter(root);
    while (!stack_.empty()) {
      const Value value = stack_.back();
      stack_.pop_back();
      look_at(value);
    }
    return std::move(found_);
  }

 private:
  void enter(const std::optional<Value>& value) {
    if (!value) return;
    if (value->id() >= seen_.size()) seen_.resize(2 * (value->id() + std::size_t{1}));
    if (seen_[value->id()]) return;
    seen_[value->id()] = true;
    stack_.push_back(*value);
  }

  void add(const GlobalName& name, const char* how) {
    if (known_.emplace(name.module, name.name, how).second)
      found_.append(nb::make_tuple(std::string(name.module), std::string(name.name), how));
  }

  void look_at(const Value& value) {
    switch (value.kind()) {
      case ValueKind::object:
        return look_at_object(value.object());
      case ValueKind::global:
        return add(value.global(), "value");
      case ValueKind::frozenset:
        add({"builtins", "frozenset"}, "call");
        break;
      case ValueKind::bytes:
        if (value.bytes().empty()) add({"builtins", "bytes"}, "call");
        return;
      case ValueKind::big_integer:
        if (value.bytes().size() > kMostOfLong1) add({"builtins", "int"}, "call");
        return;
      case ValueKind::ordered_dict:
      case ValueKind::tensor:
        enter(value.attributes());
        break;
      default:
        break;
    }
    if (value.is_dict()) {
      for (std::size_t i = 0; i < value.size(); ++i) {
        const auto [key, of_key] = value.entry(i);
        enter(key);
        enter(of_key);
      }
    } else if (is_sequence(value.kind())) {
      for (std::size_t i = 0; i < value.size(); ++i) enter(value.item(i));
    }
  }

  static bool is_sequence(ValueKind kind) {
    return kind == ValueKind::list || kind == ValueKind::tuple || kind == ValueKind::set ||
           kind == ValueKind::frozenset;
  }

  void look_at_object(const ObjectParts& parts) {
    if (parts.callable.is(ValueKind::global)) {
      const GlobalName name = parts.callable.global();
      add(name, parts.made == Made::by_call  ? "call"
                : parts.made == Made::by_new ? "new"
                                             : "new with keywords");
      if (parts.list_items) add(name, "items");
      if (parts.dict_items) add(name, "entries");
    } else {
      enter(parts.callable);
    }
    for (const std::optional<Value>& part :
         {std::optional(parts.arguments), parts.list_items, parts.dict_items, parts.state})
      enter(part);
  }

  std::vector<Value> stack_;
  std::vector<bool> seen_;  // by Value::id()
  std::set<std::tuple<std::string, std::string, std::string>> known_;
  nb::list found_;
};

}  // namespace

nb::list named_classes(const StateDict& state) { return ClassFinder().run(state.root()); }

}  // namespace transload::python
