#include "plan/select.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <set>
#include <unordered_map>

#include "transload/error.h"
#include "types/quotes.h"
#include "values/modules.h"
#include "values/node_copy.h"
#include "values/paths.h"
#include "values/walk.h"

namespace transload {
namespace {

// Sparse and quantized tensors are objects with tensor parts.
bool stands_for_tensor(const NodeTable& nodes, NodeId node) {
  const ValueKind kind = nodes.kind(node);
  return kind == ValueKind::tensor ||
         (kind == ValueKind::object && nodes.items(node)[kTensorParts] != kNoNode);
}

// Returns whether a storage of a tensor, or of an object that stands for one, is lost. An object
// too large to look through counts as lost.
bool is_lost(const NodeTable& nodes, NodeId node, const std::vector<bool>& lost) {
  constexpr std::size_t kMostParts = 1000;
  const ValueKind root_kind = nodes.kind(node);
  if (lost.empty() || (root_kind == ValueKind::object && !stands_for_tensor(nodes, node)))
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

// Copies a part of a state dict without the tensors that are not selected. Two walks: the first
// finds the containers that change at any of their places; the second makes those anew for each
// place, and copies all others once.
class Selector {
 public:
  Selector(const StateDict& contents, const Selection& selection, const std::vector<bool>& lost,
           PlainValues values = PlainValues::keep)
      : from_(contents.nodes()),
        selection_(selection),
        of_values_{.keep = values == PlainValues::automatic ? Texts() : selection.keep,
                   .drop = selection.drop},
        values_(values),
        lost_(lost),
        numbers_(contents.storages().size()),
        copy_(from_, *to_, numbers_) {
    std::iota(numbers_.begin(), numbers_.end(), 0);
  }

  std::shared_ptr<NodeTable> run(NodeId root) {
    find_changes(root);
    if (!selection_.keep.empty() && !any_selected_ && first_unselected_) {
      throw MismatchError("no tensor has a name that fits keep " +
                          in_quotes(selection_.keep.front()) + "; one is called " +
                          in_quotes(*first_unselected_));
    }
    Walk walk(from_, root);
    while (walk.next()) {
      while (around_.size() > walk.depth()) finish_container();
      if (is_container(walk.node()) && changes_[walk.node()])
        copy_container(walk);
      else
        copy_leaf(walk);
    }
    while (!around_.empty()) finish_container();
    return to_;
  }

 private:
  using Texts = std::vector<std::string>;

  // A container that is made anew.
  struct Around {
    NodeId copy, key;  // the key in from_, if a dict is around it
    std::string path;
    bool has_any = false, lacks_any = false;  // of what it holds in from_
  };

  // Whether a value is looked through. An empty one counts as a plain value where those are chosen.
  bool is_container(NodeId node) const {
    const ValueKind kind = from_.kind(node);
    return (is_dict(kind) || (is_sequence(kind) && kind != ValueKind::size)) &&
           (values_ == PlainValues::keep || !from_.below(node).empty());
  }

  // Whether a value is chosen by its name. What a container holds is, and decides about it.
  bool is_chosen(NodeId node) const {
    return stands_for_tensor(from_, node) || (values_ != PlainValues::keep && !is_container(node));
  }

  // Returns the name of the value that the walk is at, or nothing if it is not selected.
  std::optional<std::string> chosen_name(const Walk& walk) const {
    const NodeId node = walk.node();
    if (walk.depth() == 0 || !is_chosen(node)) return std::string(walk.path());
    if (!stands_for_tensor(from_, node)) return chosen_value(node, walk.path());
    if (is_lost(from_, node, lost_)) return std::nullopt;
    return selected_name(selection_, walk.path());
  }

  // The same for a plain value. What an object holds is named below the object's own name.
  std::optional<std::string> chosen_value(NodeId node, std::string_view path) const {
    // A module holds tensors. Where the format has no room for it, the format says how to select them.
    if (values_ == PlainValues::drop && state_dict_or_self(from_, node) != node)
      return std::string(path);
    if (values_ == PlainValues::drop) return std::nullopt;
    const std::string below = std::string(path) + "/";
    const bool is_around = from_.kind(node) == ValueKind::object &&
                           std::ranges::any_of(selection_.keep, [&](const std::string& pattern) {
                             return pattern.starts_with(below);
                           });
    return is_around ? std::string(path) : selected_name(of_values_, path);
  }

  void find_changes(NodeId root) {
    struct Seen {
      NodeId node;
      bool changes;
    };
    changes_.assign(from_.size(), false);
    std::vector<Seen> around;
    Walk walk(from_, root);
    while (walk.next()) {
      around.resize(walk.depth());
      const NodeId node = walk.node();
      bool changes = false;
      if (is_container(node)) {
        // One that is around itself may change: those between are made anew, to refer to the new
        // one.
        changes = !walk.enter();
        if (!changes) around.push_back({node, false});
      } else if (is_chosen(node)) {
        const auto name = chosen_name(walk);
        changes = !name || *name != walk.path();
        any_selected_ = any_selected_ || name;
        if (!name && !first_unselected_ && stands_for_tensor(from_, node))
          first_unselected_ = walk.path();
      }
      if (!changes) continue;
      for (std::size_t i = around.size(); i-- > 0 && !around[i].changes;)
        around[i].changes = changes_[around[i].node] = true;
    }
  }

  void copy_container(Walk& walk) {
    const NodeId node = walk.node();
    if (!walk.enter()) return place(walk, walk.path(), copies_.at(node));
    const NodeId copy = copies_[node] = to_->container(from_.kind(node));
    if (const NodeId attributes = from_.attributes(node); attributes != kNoNode)
      to_->set_attributes(copy, copy_(attributes));
    around_.push_back({copy, walk.key(), std::string(walk.path())});
  }

  // Puts the innermost container where it belongs, unless nothing of what it held is selected.
  void finish_container() {
    const Around done = std::move(around_.back());
    around_.pop_back();
    if (around_.empty()) {
      to_->root = done.copy;
    } else if (values_ != PlainValues::keep && done.lacks_any && !done.has_any) {
      leave_out();
    } else if (is_sequence(to_->kind(around_.back().copy))) {
      append(done.copy);
    } else {
      set(copy_(done.key), done.copy, done.path, done.path);
    }
  }

  void copy_leaf(const Walk& walk) {
    if (const auto name = chosen_name(walk))
      place(walk, *name, copy_(walk.node()));
    else
      leave_out();
  }

  void leave_out() {
    Around& around = around_.back();
    around.lacks_any = true;
    const NodeId none = is_sequence(to_->kind(around.copy)) ? to_->none() : kNoNode;
    if (none != kNoNode) to_->append(around.copy, {&none, 1});
  }

  void append(NodeId copy) {
    around_.back().has_any = true;
    to_->append(around_.back().copy, {&copy, 1});
  }

  void set(NodeId key, NodeId copy, std::string_view name, std::string_view path) {
    around_.back().has_any = true;
    if (!selection_.rename.empty() && to_->find(around_.back().copy, key) != kNoNode) {
      throw MismatchError("after the renames two values would be called " + in_quotes(name) +
                          "; one of them is " + in_quotes(path) + " before");
    }
    to_->set(around_.back().copy, key, copy);
  }

  // Puts a copy where the walk is, under a new name.
  void place(const Walk& walk, std::string_view name, NodeId copy) {
    if (around_.empty()) {
      to_->root = copy;
      return;
    }
    const NodeId container = around_.back().copy;
    const std::string_view path = walk.path();
    const std::string_view prefix = path.substr(0, path.size() - walk.part().size());
    const bool is_list = is_sequence(to_->kind(container));
    if (name != path && (is_list || !name.starts_with(prefix)))
      throw_cannot_move(path, name, prefix, is_list);
    if (is_list) return append(copy);
    set(name == path ? copy_(walk.key()) : to_->text(name.substr(prefix.size())), copy, name, path);
  }

  [[noreturn]] static void throw_cannot_move(std::string_view path, std::string_view name,
                                             std::string_view prefix, bool is_list) {
    const std::string text = in_quotes(path) + " cannot be renamed to " + in_quotes(name) + ": ";
    if (is_list)
      throw MismatchError(text + "it is an item of a list, and its name is its position");
    throw MismatchError(text + "a rename cannot move a tensor out of " +
                        in_quotes(prefix.substr(0, prefix.size() - 1)) +
                        "; the new name has to begin with " + in_quotes(prefix));
  }

  const NodeTable& from_;
  const Selection& selection_;
  const Selection of_values_;  // which are not renamed
  const PlainValues values_;
  const std::vector<bool>& lost_;
  std::shared_ptr<NodeTable> to_ = std::make_shared<NodeTable>();
  std::vector<std::uint32_t> numbers_;  // of storages: they stay
  NodeCopy copy_;
  std::vector<bool> changes_;                    // by node of from_
  std::unordered_map<NodeId, NodeId> copies_;    // of containers that change: the last one made
  std::vector<Around> around_;                   // the containers around the place
  bool any_selected_ = false;                    // tensors
  std::optional<std::string> first_unselected_;  // name of a tensor
};

std::size_t count_stars(std::string_view text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '*'));
}

}  // namespace

bool fits(std::string_view pattern, std::string_view text, std::vector<std::string_view>* stars) {
  std::size_t p = 0, t = 0;
  // The last * in the pattern so far, and the text that it stands for. Those before it need not
  // change any more: the rest fits after a longer one only if it fits after this one.
  std::size_t star = std::string_view::npos, star_begin = 0, star_end = 0;
  const auto finish_star = [&] {
    if (stars && star != std::string_view::npos)
      stars->push_back(text.substr(star_begin, star_end - star_begin));
  };
  while (true) {
    if (p < pattern.size() && pattern[p] == '*') {
      finish_star();
      star = p++;
      star_begin = star_end = t;
    } else if (t < text.size() && p < pattern.size() && pattern[p] == '?') {
      ++p;
      do ++t;  // over a whole UTF-8 character
      while (t < text.size() && (static_cast<unsigned char>(text[t]) & 0xC0) == 0x80);
    } else if (t < text.size() && p < pattern.size() && pattern[p] == text[t]) {
      ++p, ++t;
    } else if (t == text.size() && p == pattern.size()) {
      finish_star();
      return true;
    } else if (t < text.size() && star != std::string_view::npos) {
      p = star + 1;
      t = ++star_end;
    } else {
      return false;
    }
  }
}

Value part_at(const StateDict& contents, std::string_view at) {
  const Value root = contents.root();
  if (at.empty()) return root;
  const NodeId found = find_path(contents.nodes(), root.id(), at);
  if (found == kNoNode) throw MismatchError(missing_path(contents.nodes(), root.id(), at));
  return {contents, found};
}

std::optional<std::string> selected_name(const Selection& select, std::string_view name) {
  const auto fits_name = [&](const std::string& pattern) { return fits(pattern, name); };
  if (!select.keep.empty() && std::none_of(select.keep.begin(), select.keep.end(), fits_name))
    return std::nullopt;
  if (std::any_of(select.drop.begin(), select.drop.end(), fits_name)) return std::nullopt;
  for (const auto& [pattern, replacement] : select.rename) {
    std::vector<std::string_view> stars;
    if (!fits(pattern, name, &stars)) continue;
    if (count_stars(replacement) > stars.size()) {
      throw MismatchError(
          "rename of " + in_quotes(pattern) + " to " + in_quotes(replacement) +
          ": the new name has more stars than the pattern, so there is nothing to replace " +
          "the last of them with");
    }
    std::string renamed;
    std::size_t star = 0;
    for (const char c : replacement) {
      if (c == '*')
        renamed += stars[star++];
      else
        renamed += c;
    }
    return renamed;
  }
  return std::string(name);
}

StateDict select(const StateDict& contents, const Selection& selection, PlainValues values,
                 Modules modules) {
  const bool all = selection.keep.empty() && selection.drop.empty() && selection.rename.empty() &&
                   values != PlainValues::drop;
  NodeId root = part_at(contents, selection.at).id();
  if (modules == Modules::as_state_dicts) root = state_dict_or_self(contents.nodes(), root);
  if (all && root == contents.nodes().root) return contents;
  const auto storages = contents.storages();
  return {Selector(contents, selection, {}, values).run(root), {storages.begin(), storages.end()}};
}

StateDict without(const StateDict& contents, const std::vector<bool>& lost) {
  const auto nodes = Selector(contents, {}, lost).run(contents.nodes().root);
  // What is left is the root itself, or in an object that does not stand for a tensor.
  const std::size_t count = nodes->size();
  const NodeId none = nodes->none();
  std::vector<NodeId> gone;
  for (NodeId node = 0; node < count; ++node) {
    if (is_lost(*nodes, node, lost)) gone.push_back(node);
  }
  for (const NodeId node : gone) nodes->become(node, none);
  const auto storages = contents.storages();
  return {nodes, {storages.begin(), storages.end()}};
}

}  // namespace transload
