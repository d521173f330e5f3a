#include "values/walk.h"

#include <charconv>

#include "transload/error.h"
#include "values/contents.h"
#include "values/value_text.h"

namespace transload {
namespace {

constexpr std::uint64_t kMorePlaces = 100'000;
constexpr std::uint64_t kMaxCopiedNbytes = 1 << 30, kMaxCopiedPerPlace = 256;

void append_number(std::string& text, std::uint64_t number) {
  char digits[20];
  text.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

}  // namespace

void append_key(std::string& path, const NodeTable& nodes, NodeId key) {
  constexpr std::size_t kMaxChars = 100;
  if (nodes.kind(key) == ValueKind::text)
    path += nodes.as_text(key);
  else
    path += str(nodes, {}, key, kMaxChars);
}

ObjectContents contents_of(const NodeTable& nodes, NodeId object) {
  ObjectContents contents;
  const auto items = nodes.items(object);
  const auto add = [&](NodeId node) {
    if (node != kNoNode) contents.nodes[contents.count++] = node;
  };
  if (items[kStateDict] != kNoNode) {
    add(items[kStateDict]);
    return contents;
  }
  contents.has_tensor_parts = items[kTensorParts] != kNoNode;
  const NodeId state = nodes.attributes(object);
  add(contents.has_tensor_parts ? items[kTensorParts]
      : state != kNoNode        ? state
                                : items[kArguments]);
  add(items[kListItems]);
  add(items[kDictItems]);
  return contents;
}

Walk::Walk(const NodeTable& nodes, NodeId root)
    : nodes_(nodes),
      node_(root),
      is_around_(nodes.size()),
      was_entered_(nodes.size()),
      max_places_(kMorePlaces + nodes.size() + nodes.references()) {}

bool Walk::next() {
  if (!started_) return started_ = true;
  while (!entered_.empty()) {
    Entered& innermost = entered_.back();
    if (innermost.next < count(innermost)) {
      move_to(innermost);
      return true;
    }
    is_around_[innermost.container] = false;
    entered_.pop_back();
  }
  return false;
}

void Walk::move_to(Entered& entered) {
  const std::size_t i = entered.next++;
  const NodeId container = entered.container;
  path_.resize(entered.path_nbytes);
  part_begin_ = entered.path_nbytes;
  levels_ = entered.levels;
  key_ = kNoNode;
  if (entered.holds == Holds::object_contents) {
    node_ = contents_of(nodes_, container).nodes[i];
  } else {
    if (entered.holds != Holds::suffixes && levels_++ > 0) {
      path_ += '/';
      ++part_begin_;
    }
    if (entered.holds == Holds::items) {
      node_ = nodes_.items(container)[i];
      append_number(path_, i);
    } else {
      key_ = nodes_.entries(container)[2 * i];
      node_ = nodes_.entries(container)[2 * i + 1];
      append_key(path_, nodes_, key_);
    }
  }
  copied_nbytes_ += path_.size() - entered.path_nbytes;
  if (++places_; copied_nbytes_ > kMaxCopiedNbytes + kMaxCopiedPerPlace * places_)
    throw FormatError(
        "its shared containers have keys so long that their names take more than 1 GiB");
}

bool Walk::enter() {
  const ValueKind kind = nodes_.kind(node_);
  if (!is_dict(kind) && !is_sequence(kind) && kind != ValueKind::object) return true;
  if (is_around_[node_] || (places_ > max_places_ && was_entered_[node_])) return false;
  is_around_[node_] = was_entered_[node_] = true;
  entered_.push_back({node_, holds(node_), path_.size(), levels_});
  return true;
}

Walk::Holds Walk::holds(NodeId container) const {
  const ValueKind kind = nodes_.kind(container);
  if (kind == ValueKind::object) return Holds::object_contents;
  if (!is_dict(kind)) return Holds::items;
  const bool is_tensor_parts = !entered_.empty() &&
                               entered_.back().holds == Holds::object_contents &&
                               nodes_.items(entered_.back().container)[kTensorParts] == container;
  return is_tensor_parts ? Holds::suffixes : Holds::entries;
}

std::size_t Walk::count(const Entered& entered) const {
  switch (entered.holds) {
    case Holds::object_contents:
      return contents_of(nodes_, entered.container).count;
    case Holds::items:
      return nodes_.items(entered.container).size();
    default:
      return nodes_.entries(entered.container).size() / 2;
  }
}

void walk(const StateDict& state, const std::function<bool(const VisitedValue&)>& visit) {
  const Value root = state.root();  // keeps what is walked alive
  const std::shared_ptr<const StateContents>& contents = root.contents();
  Walk walk(*contents->nodes, root.id());
  while (walk.next()) {
    if (visit({walk.path(), walk.part(), walk.depth(), Value(contents, walk.node())})) walk.enter();
  }
}

}  // namespace transload
