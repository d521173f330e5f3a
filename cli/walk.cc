#include "walk.h"

#include <unordered_set>
#include <vector>

namespace transload::cli {
namespace {

bool is_list(const Value& value) {
  return value.is(ValueKind::list) || value.is(ValueKind::tuple) || value.is(ValueKind::set) ||
         value.is(ValueKind::frozenset);
}

std::string key_text(const Value& key) {
  return key.is(ValueKind::text) ? std::string(key.text()) : str(key, 100);
}

struct Part {
  std::string key;
  Value value;
};

std::vector<Part> parts_of(const Value& value) {
  std::vector<Part> parts;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value.is_dict()) {
      const auto [key, item] = value.entry(i);
      parts.push_back({key_text(key), item});
    } else {
      parts.push_back({std::to_string(i), value.item(i)});
    }
  }
  return parts;
}

}  // namespace

bool is_container(const Value& value) { return value.is_dict() || is_list(value); }

bool is_plain_list(const Value& value) {
  if (!is_list(value)) return false;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const Value item = value.item(i);
    if (is_container(item) || item.is(ValueKind::tensor) || item.is(ValueKind::object))
      return false;
  }
  return true;
}

void walk(const StateDict& state, const std::function<bool(const Place&)>& visit) {
  // Sharing can make 2^n places of n containers: past so many each is entered once.
  constexpr std::size_t kManyPlaces = 1'000'000;
  std::unordered_set<std::uint32_t> inside, seen;
  struct Step {
    Part part;
    std::size_t depth, path_nbytes;  // of what holds it
    bool leaves;
  };
  std::string path;
  std::vector<Step> todo{{{"", state.root()}, 0, 0, false}};
  for (std::size_t places = 0; !todo.empty(); ++places) {
    Step step = std::move(todo.back());
    todo.pop_back();
    const Value value = step.part.value;
    if (step.leaves) {
      inside.erase(value.id());
      continue;
    }
    path.resize(step.path_nbytes);
    if (step.depth > 1) path += '/';
    path += step.part.key;
    const Place place{path, std::move(step.part.key), step.depth, value};
    if (!visit(place) || !is_container(value)) continue;
    if (inside.contains(value.id()) || (places > kManyPlaces && seen.contains(value.id())))
      continue;
    inside.insert(value.id());
    seen.insert(value.id());
    todo.push_back({{"", value}, 0, 0, true});
    std::vector<Part> parts = parts_of(value);
    for (std::size_t i = parts.size(); i-- > 0;)
      todo.push_back({std::move(parts[i]), step.depth + 1, path.size(), false});
  }
}

}  // namespace transload::cli
