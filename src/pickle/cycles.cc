#include "pickle/cycles.h"

namespace transload {
namespace {

// The values that are written with a value.
struct Parts {
  std::span<const NodeId> items;
  NodeId attributes = kNoNode;
  std::size_t size() const { return items.size() + 1; }
  NodeId operator[](std::size_t i) const { return i < items.size() ? items[i] : attributes; }
};

Parts all_parts(const NodeTable& nodes, NodeId node) {
  const bool is_object = nodes.kind(node) == ValueKind::object;
  // An object's tensor parts are in its arguments too.
  return {is_object ? nodes.items(node).first(kTensorParts) : nodes.below(node),
          nodes.attributes(node)};
}

// Those that are written before the value is in the memo.
Parts parts_before_memo(const NodeTable& nodes, NodeId node) {
  switch (nodes.kind(node)) {
    case ValueKind::tuple:
    case ValueKind::size:
    case ValueKind::set:
    case ValueKind::frozenset:
      return {nodes.items(node)};
    case ValueKind::object:
      return {nodes.items(node).first(kArguments + 1)};
    case ValueKind::tensor:
      return {{}, nodes.attributes(node)};
    default:
      return {};
  }
}

// A search in depth with a stack of its own: values nest as deep as memory allows.
class CycleSearch {
 public:
  using PartsOf = Parts (*)(const NodeTable&, NodeId);
  CycleSearch(const NodeTable& nodes, PartsOf parts_of)
      : nodes_(nodes), parts_of_(parts_of), seen_(nodes.size()) {}

  // Whether a cycle is reached from `start`. Values that an earlier call saw are not entered again.
  bool finds_from(NodeId start) {
    enter(start);
    while (!path_.empty()) {
      auto& [node, next] = path_.back();
      const Parts parts = parts_of_(nodes_, node);
      if (next == parts.size()) {
        seen_[node] = Seen::left;
        path_.pop_back();
        continue;
      }
      const NodeId part = parts[next++];
      if (part == kNoNode) continue;
      if (seen_[part] == Seen::on_path) return true;
      enter(part);
    }
    return false;
  }

 private:
  enum class Seen : std::uint8_t { no, on_path, left };

  void enter(NodeId node) {
    if (seen_[node] != Seen::no) return;
    seen_[node] = Seen::on_path;
    path_.push_back({node, 0});
  }

  struct Step {
    NodeId node;
    std::size_t next;  // of its parts
  };
  const NodeTable& nodes_;
  PartsOf parts_of_;
  std::vector<Seen> seen_;
  std::vector<Step> path_;
};

}  // namespace

bool has_cycle(const NodeTable& nodes) {
  return CycleSearch(nodes, all_parts).finds_from(nodes.root);
}

bool has_cycle_without_container(const NodeTable& nodes) {
  CycleSearch search(nodes, parts_before_memo);
  const std::vector<std::uint32_t> mentions = nodes.mentions();
  for (NodeId node = 0; node < mentions.size(); ++node) {
    if (mentions[node] > 0 && search.finds_from(node)) return true;
  }
  return false;
}

}  // namespace transload
