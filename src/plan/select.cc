#include "plan/select.h"

#include <algorithm>
#include <set>

#include "values/node_table.h"

namespace transload {
namespace {

// What the first * of a pattern stands for in a text that fits it; empty without a *.
std::string_view star_of(std::string_view pattern, std::string_view text) {
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos) return {};
  const std::string_view rest = pattern.substr(star + 1);
  for (std::size_t end = text.size() + 1; end-- > star;) {
    if (fits(rest, text.substr(end))) return text.substr(star, end - star);
  }
  return {};
}

// Whether a storage of a tensor, or of an object that stands for one (quantized, sparse), is lost. An object too large to
// look through counts as lost.
bool is_lost(const NodeTable& nodes, NodeId node, const std::vector<bool>& lost) {
  constexpr std::size_t kMostParts = 1000;
  const ValueKind root_kind = nodes.kind(node);
  if (lost.empty() ||
      (root_kind == ValueKind::object && nodes.items(node)[kTensorParts] == kNoNode))
    return false;
  std::set<NodeId> seen;
  std::vector<NodeId> todo{node};
  while (!todo.empty()) {
    const NodeId at = todo.back();
    todo.pop_back();
    if (at == kNoNode || !seen.insert(at).second) continue;
    if (seen.size() > kMostParts) return true;
    const ValueKind kind = nodes.kind(at);
    if (kind == ValueKind::tensor || kind == ValueKind::storage) {
      const std::uint32_t number = nodes.storage_number(at);
      if (number < lost.size() && lost[number]) return true;
    }
    if (root_kind != ValueKind::object) break;
    todo.insert(todo.end(), nodes.below(at).begin(), nodes.below(at).end());
  }
  return false;
}

struct Selector {
  const Selection& selection;
  const std::vector<bool>& lost;
  const NodeTable& from;
  NodeTable& to;
  std::vector<std::uint32_t> numbers;

  NodeId dict(NodeId node, const std::string& path, const StateDict& state, int depth) {
    constexpr int kMaxDepth = 100;  // deeper dicts are taken whole
    const NodeId made = to.container(from.kind(node));
    for (std::size_t i = 0; i < from.entries(node).size(); i += 2) {
      const NodeId key = from.entries(node)[i], value = from.entries(node)[i + 1];
      const std::string name = path + name_part(Value(state, key));
      const ValueKind kind = from.kind(value);
      if (is_dict(kind) && depth < kMaxDepth) {
        to.set(made, to.copy(from, key, numbers), dict(value, name + "/", state, depth + 1));
      } else if (is_lost(from, value, lost)) {
        continue;
      } else if (kind == ValueKind::tensor) {
        const auto chosen = selected_name(selection, name);
        if (!chosen) continue;
        if (!chosen->starts_with(path)) {
          throw MismatchError("\"" + name + "\" cannot be renamed to \"" + *chosen +
                              "\": it would leave \"" + path + "\"");
        }
        const NodeId new_key =
            *chosen == name ? to.copy(from, key, numbers) : to.text(chosen->substr(path.size()));
        if (to.find(made, new_key) != kNoNode) {
          throw MismatchError("two tensors would be called \"" + *chosen + "\"; one of them is \"" +
                              name + "\" in the file");
        }
        to.set(made, new_key, to.copy(from, value, numbers));
      } else {
        to.set(made, to.copy(from, key, numbers), to.copy(from, value, numbers));
      }
    }
    if (const NodeId attributes = from.attributes(node); attributes != kNoNode) {
      to.set_attributes(made, to.copy(from, attributes, numbers));
    }
    return made;
  }
};

}  // namespace

bool fits(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

// The value at names joined by '/', of which one may hold a '/' itself.
NodeId part_at(const StateDict& contents, std::string_view at) {
  const NodeTable& nodes = contents.nodes();
  NodeId node = nodes.root;
  for (std::string_view rest = at; !rest.empty();) {
    const Value here(contents, node);
    NodeId next = kNoNode;
    std::string there;
    std::size_t longest = 0;  // of the keys that fit
    for (std::size_t i = 0; here.is_dict() && i < here.size(); ++i) {
      const auto [name, value] = here.entry(i);
      const std::string key = name_part(name);
      there += (i ? ", \"" : "\"") + key + "\"";
      const bool does_fit =
          rest == key || (rest.starts_with(key) && rest.substr(key.size()).starts_with("/"));
      if (!does_fit || key.size() < longest) continue;
      next = value.id();
      longest = key.size();
    }
    if (next == kNoNode) {
      throw MismatchError("there is nothing at \"" + std::string(at) + "\": " +
                          (here.is_dict() ? "the parts are " + there : "a value without parts"));
    }
    node = next;
    rest.remove_prefix(std::min(longest + 1, rest.size()));
  }
  return node;
}

std::optional<std::string> selected_name(const Selection& select, std::string_view name) {
  const auto fits_name = [&](const std::string& pattern) { return fits(pattern, name); };
  if (!select.keep.empty() && std::none_of(select.keep.begin(), select.keep.end(), fits_name))
    return std::nullopt;
  if (std::any_of(select.drop.begin(), select.drop.end(), fits_name)) return std::nullopt;
  for (const auto& [pattern, replacement] : select.rename) {
    if (!fits(pattern, name)) continue;
    std::string renamed = replacement;
    if (const std::size_t star = renamed.find('*'); star != std::string::npos) {
      renamed.replace(star, 1, star_of(pattern, name));
    }
    return renamed;
  }
  return std::string(name);
}

StateDict select(const StateDict& contents, const Selection& selection) {
  const bool all = selection.keep.empty() && selection.drop.empty() && selection.rename.empty();
  if (all && selection.at.empty()) return contents;
  const NodeId root = part_at(contents, selection.at);
  const auto nodes = std::make_shared<NodeTable>();
  const auto storages = contents.storages();
  Selector selector{selection, {}, contents.nodes(), *nodes, {}};
  for (std::uint32_t i = 0; i < storages.size(); ++i) selector.numbers.push_back(i);
  nodes->root = !all && Value(contents, root).is_dict()
                    ? selector.dict(root, "", contents, 0)
                    : nodes->copy(contents.nodes(), root, selector.numbers);
  StateDict selected(nodes, {storages.begin(), storages.end()});
  if (!selection.keep.empty() && selected.tensors().empty() && !contents.tensors().empty())
    throw MismatchError("no tensor has a name that fits keep \"" + selection.keep.front() +
                        "\"; one is called \"" + contents.tensors().front().name + "\"");
  return selected;
}

StateDict without(const StateDict& contents, const std::vector<bool>& lost_storages) {
  const auto nodes = std::make_shared<NodeTable>();
  const auto storages = contents.storages();
  Selector selector{{}, lost_storages, contents.nodes(), *nodes, {}};
  for (std::uint32_t i = 0; i < storages.size(); ++i) selector.numbers.push_back(i);
  const NodeId root = contents.nodes().root;
  nodes->root = contents.root().is_dict() ? selector.dict(root, "", contents, 0)
                                          : nodes->copy(contents.nodes(), root, selector.numbers);
  const std::size_t count = nodes->size();
  const NodeId none = nodes->none();
  std::vector<NodeId> gone;
  for (NodeId node = 0; node < count; ++node) {
    if (is_lost(*nodes, node, lost_storages)) gone.push_back(node);
  }
  for (const NodeId node : gone) nodes->become(node, none);
  return StateDict(nodes, {storages.begin(), storages.end()});
}

}  // namespace transload
