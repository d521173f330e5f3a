// Facts: globals.h, which judges names; docs/security.md.
#include "pickle/refused.h"

#include <vector>

namespace transload {
namespace {

std::string dotted(std::string_view module, std::string_view name) {
  return std::string(module) + "." + std::string(name);
}

bool is(const NodeTable& nodes, NodeId node, ValueKind kind) { return nodes.kind(node) == kind; }

std::optional<RefusedName> refused_use(const NodeTable& nodes, NodeId global, PickleUse::How how) {
  const std::string_view module = nodes.module_of(global), name = nodes.name_of(global);
  if (!judge_global(module, name, how).is_refused) return std::nullopt;
  return RefusedName{"calls", std::string(module), std::string(name)};
}

// Of getattr(object, attribute).
struct Attribute {
  std::optional<RefusedName> refused;
  bool is_harmless;  // else it is a call like any other: of something else than a class or a layer
};

Attribute judge_getattr(const NodeTable& nodes, NodeId arguments) {
  const auto a = nodes.items(arguments);
  if (a.size() != 2 || !is(nodes, a[1], ValueKind::text)) return {std::nullopt, false};
  const std::string_view attribute = nodes.as_text(a[1]);
  if (is(nodes, a[0], ValueKind::global)) {
    const std::string_view module = nodes.module_of(a[0]);
    std::string name = dotted(nodes.name_of(a[0]), attribute);
    if (!judge_attribute(module, name).is_refused) return {std::nullopt, true};
    return {RefusedName{"holds", std::string(module), std::move(name)}, false};
  }
  const NodeId owner = is(nodes, a[0], ValueKind::object) ? nodes.items(a[0])[kCallable] : a[0];
  return {std::nullopt, is(nodes, owner, ValueKind::global) &&
                            is_method_of_layer(nodes.module_of(owner), attribute)};
}

std::optional<RefusedName> refused_node(const NodeTable& nodes, NodeId node,
                                        const OpenOptions& options) {
  if (is(nodes, node, ValueKind::global) && !options.keep_calls)
    return refused_mention(nodes.module_of(node), nodes.name_of(node));
  if (!is(nodes, node, ValueKind::object)) return std::nullopt;
  const NodeId callable = nodes.items(node)[kCallable], arguments = nodes.items(node)[kArguments];
  if (!is(nodes, callable, ValueKind::global)) return std::nullopt;
  if (!options.keep_calls) {
    if (auto refused = refused_call(nodes, callable, arguments, nodes.made(node))) return refused;
  }
  if (!options.refuse_objects) return std::nullopt;
  return refused_object(nodes.module_of(callable), nodes.name_of(callable));
}

}  // namespace

UnsafePickleError refusal_of(const RefusedName& refused, const std::string& where) {
  const std::string text =
      where + ": " + refused.verb + " " + dotted(refused.module, refused.name) + ", which is not ";
  if (std::string_view(refused.verb) == "holds an object of") {
    return UnsafePickleError(text +
                             "plain data; without refuse_objects it is kept as an inert object");
  }
  return UnsafePickleError(
      text +
      "plain data: a program that unpickles this file runs it. Nothing was called here; scan lists "
      "all that the file would do, keep_calls keeps it as an inert object");
}

std::optional<RefusedName> refused_mention(std::string_view module, std::string_view name) {
  if (!judge_global(module, name, PickleUse::How::mention).is_refused) return std::nullopt;
  return RefusedName{"holds", std::string(module), std::string(name)};
}

std::optional<RefusedName> refused_call(const NodeTable& nodes, NodeId callable, NodeId arguments,
                                        Made made) {
  const bool is_call = made == Made::by_call;
  const Constructor constructor =
      constructor_of(nodes.module_of(callable), nodes.name_of(callable));
  if (is_call && constructor == Constructor::attribute) {
    Attribute attribute = judge_getattr(nodes, arguments);
    if (attribute.refused || attribute.is_harmless) return std::move(attribute.refused);
  }
  if (auto refused =
          refused_use(nodes, callable, is_call ? PickleUse::How::call : PickleUse::How::make))
    return refused;
  const auto a = nodes.items(arguments);
  const bool is_of_global = !a.empty() && is(nodes, a[0], ValueKind::global);
  if (calls_its_first_argument(constructor) && is_of_global) {
    if (auto refused = refused_use(nodes, a[0], PickleUse::How::call)) return refused;
  }
  if (constructor != Constructor::partial && constructor != Constructor::new_object)
    return std::nullopt;
  // They are given something to call later: it must be a name that is known to be harmless.
  const NodeId given = is_of_global ? a[0] : callable;
  const std::string_view module = nodes.module_of(given), name = nodes.name_of(given);
  const Judgement judgement = constructor == Constructor::partial
                                  ? judge_wrapped(module, name)
                                  : judge_global(module, name, PickleUse::How::make);
  if (is_of_global && !judgement.is_refused) return std::nullopt;
  return RefusedName{"calls", std::string(module), std::string(name)};
}

std::optional<RefusedName> refused_object(std::string_view module, std::string_view name) {
  if (is_plain_data(module, name)) return std::nullopt;
  return RefusedName{"holds an object of", std::string(module), std::string(name)};
}

std::optional<RefusedName> refused_in(const NodeTable& nodes, NodeId value,
                                      const OpenOptions& options) {
  std::vector<bool> seen(nodes.size());
  std::vector<NodeId> todo{value};
  while (!todo.empty()) {
    const NodeId node = todo.back();
    todo.pop_back();
    if (node == kNoNode || seen[node]) continue;
    seen[node] = true;
    if (auto refused = refused_node(nodes, node, options)) return refused;
    todo.insert(todo.end(), nodes.below(node).begin(), nodes.below(node).end());
    todo.push_back(nodes.attributes(node));
  }
  return std::nullopt;
}

}  // namespace transload
