// Patterns against the names of all values; what was probably meant is the nearest name or prefix.
#include "plan/unused_rules.h"

#include <algorithm>
#include <unordered_set>

#include "plan/select.h"
#include "transload/error.h"
#include "types/nearest.h"
#include "types/quotes.h"
#include "values/walk.h"

namespace transload {
namespace {

constexpr std::string_view kWildcards = "*?";

// The names that patterns can fit: those of tensors and of other values, and not those of the
// containers around them.
class Names {
 public:
  Names(const StateDict& contents, const Selection& select) {
    const Value part = part_at(contents, select.at);
    Walk walk(contents.nodes(), part.id());
    while (walk.next()) {
      const NodeId node = walk.node();
      const ValueKind kind = contents.nodes().kind(node);
      const bool is_around =
          (is_dict(kind) || is_sequence(kind)) && !contents.nodes().below(node).empty();
      if (!is_around) add(walk.path(), select, kind);
      walk.enter();
    }
  }

  bool any_fits(const std::string& pattern) const {
    if (all_.contains(pattern)) return true;
    return pattern.find_first_of(kWildcards) != std::string::npos &&
           std::ranges::any_of(all_, [&](const std::string& name) { return fits(pattern, name); });
  }

  // Whether it is a name, or the beginning of one up to a '.' or a '/'.
  bool any_begins_with(const std::string& text) const {
    return std::ranges::any_of(all_, [&](const std::string& name) {
      return name.starts_with(text) &&
             (name.size() == text.size() || name[text.size()] == '.' || name[text.size()] == '/');
    });
  }

  // What a rule that fits nothing does not fit, and what was probably meant: a pattern, or one of
  // `others`.
  std::string problem(const std::string& pattern,
                      const std::vector<std::string>& others = {}) const {
    const std::string text = "fits no tensor";
    std::vector<std::string> candidates = others;
    for (const std::string& name : tensors_) {
      if (candidates.size() >= kMostCandidates) break;
      for (std::size_t end = name.find_first_of("./"); end != std::string::npos;
           end = name.find_first_of("./", end + 1))
        candidates.push_back(name.substr(0, end + 1) + "*");
      candidates.push_back(name);
    }
    if (const std::string_view near = nearest(pattern, candidates); !near.empty())
      return text + "; did you mean " + in_quotes(near) + "?";
    return tensors_.empty() ? text : text + "; one is called " + in_quotes(tensors_.front());
  }

 private:
  static constexpr std::size_t kMostCandidates = 4000;

  void add(std::string_view path, const Selection& select, ValueKind kind) {
    if (kind == ValueKind::tensor && tensors_.size() < kMostCandidates) tensors_.emplace_back(path);
    all_.emplace(path);
    if (select.rename.empty()) return;
    if (auto name = selected_name({.rename = select.rename}, path)) all_.insert(std::move(*name));
  }

  std::unordered_set<std::string> all_;  // before renames and after them
  std::vector<std::string> tensors_;     // the first ones, before renames
};

bool may_be_unused(const Selection& select, const MapLocation& map_location) {
  using Of = MapLocation::Rule::Of;
  return !select.keep.empty() || !select.drop.empty() || !select.rename.empty() ||
         std::ranges::any_of(map_location.rules(), [](const MapLocation::Rule& rule) {
           return rule.of == Of::key || rule.of == Of::tag;
         });
}

// Whether the TAG of TAG=DEVICE was meant as a pattern of names.
bool is_pattern(const std::string& tag, const std::vector<std::string>& tags, const Names& names) {
  if (std::ranges::find(tags, tag) != tags.end() || is_torch_device(tag)) return false;
  return tag.find_first_of(kWildcards) != std::string::npos || names.any_begins_with(tag);
}

}  // namespace

std::string str(const UnusedRule& unused) {
  return unused.option + " " + in_quotes(unused.rule) + " " + unused.problem;
}

std::vector<UnusedRule> unused_rules(const Index& index, const Selection& select,
                                     const MapLocation& map_location) {
  return unused_rules(index.contents, index.locations, select, map_location);
}

std::vector<UnusedRule> unused_rules(const StateDict& contents,
                                     const std::vector<std::string>& tags, const Selection& select,
                                     const MapLocation& map_location) {
  std::vector<UnusedRule> unused;
  if (!may_be_unused(select, map_location)) return unused;
  const Names names(contents, select);
  const auto check = [&](const char* option, const std::string& pattern) {
    if (!names.any_fits(pattern)) unused.push_back({option, pattern, names.problem(pattern)});
  };
  // If none fits, the selection itself is an error.
  const bool any_kept = std::ranges::any_of(
      select.keep, [&](const std::string& pattern) { return names.any_fits(pattern); });
  if (any_kept)
    for (const std::string& pattern : select.keep) check("keep", pattern);
  for (const std::string& pattern : select.drop) check("drop", pattern);
  for (const Rename& rename : select.rename) check("rename", rename.pattern);
  for (const MapLocation::Rule& rule : map_location.rules()) {
    if (rule.of == MapLocation::Rule::Of::key && !names.any_fits(rule.pattern)) {
      unused.push_back({"map_location", rule.pattern, names.problem(rule.pattern, tags)});
    } else if (rule.of == MapLocation::Rule::Of::tag && is_pattern(rule.pattern, tags, names)) {
      const std::string meant = rule.pattern + ":" + rule.device.str();
      unused.push_back(
          {"map_location", rule.str(),
           "fits no tensor: before \"=\" stands the device that tensors were saved on; "
           "did you mean " +
               in_quotes(meant) + "?"});
    }
  }
  return unused;
}

}  // namespace transload
