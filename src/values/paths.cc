#include "values/paths.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <vector>

#include "types/nearest.h"
#include "types/quotes.h"
#include "values/node_table.h"
#include "values/value_text.h"
#include "values/walk.h"

namespace transload {
namespace {

// The number that a part is; nothing if its digits are not those that the number prints.
std::optional<std::int64_t> number_in(std::string_view part) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
  if (error != std::errc() || end != part.data() + part.size() || std::to_string(number) != part)
    return std::nullopt;
  return number;
}

// The value that one part leads to, or kNoNode.
NodeId find_part(const NodeTable& nodes, NodeId container, std::string_view part) {
  const ValueKind kind = nodes.kind(container);
  const auto number = number_in(part);
  if (is_dict(kind)) {
    if (const NodeId value = nodes.find(container, part); value != kNoNode) return value;
    if (number) return nodes.find(container, *number);
  } else if (is_sequence(kind) && number) {
    const auto items = nodes.items(container);
    if (*number >= 0 && static_cast<std::uint64_t>(*number) < items.size())
      return items[static_cast<std::size_t>(*number)];
  }
  return kNoNode;
}

// Follows a path through all keys that fit, the longest first.
class Search {
 public:
  Search(const NodeTable& nodes, NodeId root, std::string_view path) : nodes_(nodes), path_(path) {
    push(root, 0);
  }

  NodeId run() {
    while (!todo_.empty()) {
      const Step step = todo_.back();
      todo_.pop_back();
      if (step.begin == kDone) return step.node;
      if (step.begin >= furthest_.begin || furthest_.node == kNoNode) furthest_ = step;
      expand(step);
    }
    return kNoNode;
  }

  struct Step {
    NodeId node;
    std::size_t begin;  // of the part that is looked for in the node
  };
  // Where no part fits, furthest along the path.
  Step furthest() const { return furthest_; }

 private:
  static constexpr std::size_t kDone = std::string_view::npos;

  // A step that was taken before led nowhere.
  void push(NodeId node, std::size_t begin) {
    if (begin == kDone || taken_.emplace(node, begin).second) todo_.push_back({node, begin});
  }

  // Pushes what the part at step.begin may lead to; the last one pushed is tried first.
  void expand(const Step& step) {
    const ValueKind kind = nodes_.kind(step.node);
    if (kind == ValueKind::object) return expand_object(step);
    if (!is_dict(kind) && !is_sequence(kind)) return;
    const std::size_t before = todo_.size();
    for (std::size_t end = step.begin; end <= path_.size(); ++end) {
      if (end < path_.size() && path_[end] != '/' && path_[end] != '#') continue;
      const std::string_view part = path_.substr(step.begin, end - step.begin);
      if (const NodeId value = find_part(nodes_, step.node, part); value != kNoNode)
        follow(value, end);
    }
    if (todo_.size() == before && is_dict(kind)) expand_other_keys(step);
  }

  // Keys that are neither a text nor an int.
  void expand_other_keys(const Step& step) {
    const auto entries = nodes_.entries(step.node);
    std::string part;
    for (std::size_t i = 0; i < entries.size(); i += 2) {
      const ValueKind kind = nodes_.kind(entries[i]);
      if (kind == ValueKind::text || kind == ValueKind::integer) continue;
      part.clear();
      append_key(part, nodes_, entries[i]);
      if (path_.substr(step.begin).starts_with(part))
        follow(entries[i + 1], step.begin + part.size());
    }
  }

  // An object adds no level: what it holds stands where it does.
  void expand_object(const Step& step) {
    const ObjectContents contents = contents_of(nodes_, step.node);
    // A module's attributes, as "_modules/0", are found behind the names of its state dict.
    const NodeId state = nodes_.attributes(step.node);
    if (nodes_.items(step.node)[kStateDict] != kNoNode && state != kNoNode) push(state, step.begin);
    for (std::size_t i = contents.count; i-- > 0;) {
      if (i > 0 || !contents.has_tensor_parts) push(contents.nodes[i], step.begin);
    }
  }

  // `end`: of the part that led to the value.
  void follow(NodeId value, std::size_t end) {
    if (end == path_.size()) return push(value, kDone);
    if (path_[end] == '/') return push(value, end + 1);
    if (nodes_.kind(value) != ValueKind::object) return;
    const ObjectContents contents = contents_of(nodes_, value);
    if (!contents.has_tensor_parts) return;
    const NodeId tensor = nodes_.find(contents.nodes[0], path_.substr(end));  // "#indices"
    if (tensor != kNoNode) push(tensor, kDone);
  }

  const NodeTable& nodes_;
  std::string_view path_;
  std::vector<Step> todo_;
  std::set<std::pair<NodeId, std::size_t>> taken_;
  Step furthest_{kNoNode, 0};
};

// The parts of a container, as many as an error can use.
std::vector<std::string> parts_of(const NodeTable& nodes, NodeId container) {
  constexpr std::size_t kMost = 4000;
  std::vector<std::string> parts;
  Walk walk(nodes, container);
  walk.next();
  walk.enter();
  while (parts.size() < kMost && walk.next()) {
    if (walk.part().empty() && walk.key() == kNoNode)
      walk.enter();  // what an object holds
    else
      parts.emplace_back(walk.part());
  }
  return parts;
}

std::string listed(const std::vector<std::string>& parts, std::size_t count) {
  constexpr std::size_t kMost = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(parts.size(), kMost); ++i)
    text += (i ? ", " : "") + in_quotes(parts[i]);
  return count > kMost ? text + " and " + std::to_string(count - kMost) + " more" : text;
}

// As "a list of 3 items, whose positions are 0 to 2".
std::string sequence_text(ValueKind kind, std::size_t count) {
  const std::string text = "a " + std::string(name(kind)) + " of " + std::to_string(count);
  if (count == 1) return text + " item, whose position is 0";
  return text + " items" + (count ? ", whose positions are 0 to " + std::to_string(count - 1) : "");
}

}  // namespace

NodeId find_path(const NodeTable& nodes, NodeId root, std::string_view path) {
  const NodeId found = Search(nodes, root, path).run();
  return found == kNoNode && path.empty() ? root : found;
}

std::string missing_key(const NodeTable& nodes, NodeId dict, std::string_view key) {
  const std::vector<std::string> keys = parts_of(nodes, dict);
  const std::size_t count = nodes.entries(dict).size() / 2;
  const std::string text = "no key " + in_quotes(key);
  if (const std::string_view near = nearest(key, keys); !near.empty())
    return text + "; did you mean " + in_quotes(near) + "?";
  if (keys.empty()) return text + "; the dict is empty";
  return text + "; the keys are " + listed(keys, count);
}

std::string missing_path(const NodeTable& nodes, NodeId root, std::string_view path) {
  Search search(nodes, root, path);
  search.run();
  const auto [node, begin] = search.furthest();
  const std::string text = "there is nothing at " + in_quotes(path) + ": ";
  const std::string here = begin > 0 ? in_quotes(path.substr(0, begin - 1)) : "this value";
  const ValueKind kind = nodes.kind(node);
  if (is_sequence(kind))
    return text + here + " is " + sequence_text(kind, nodes.items(node).size());
  const std::vector<std::string> parts = is_dict(kind) || kind == ValueKind::object
                                             ? parts_of(nodes, node)
                                             : std::vector<std::string>();
  if (parts.empty())
    return text + here + " is " + str(nodes, {}, node, 60) + ", which has no parts";
  const std::size_t count = is_dict(kind) ? nodes.entries(node).size() / 2 : parts.size();
  const std::string_view near = nearest(path.substr(begin), parts);
  const std::string prefix(path.substr(0, begin));
  return text + (begin > 0 ? "in " + here + " " : "") + "the parts are " + listed(parts, count) +
         (near.empty() ? "" : "; did you mean " + in_quotes(prefix + std::string(near)) + "?");
}

}  // namespace transload
