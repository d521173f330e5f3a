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

std::vector<Place> parts_of(const Place& place) {
  std::vector<Place> parts;
  const auto add = [&](std::string key, const Value& value) {
    std::string name = place.depth == 0 ? key : place.name + "/" + key;
    parts.push_back({std::move(name), std::move(key), place.depth + 1, value});
  };
  const Value& value = place.value;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value.is_dict()) {
      const auto [key, item] = value.entry(i);
      add(key_text(key), item);
    } else {
      add(std::to_string(i), value.item(i));
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
  constexpr std::size_t kManyPlaces = 10'000'000;
  std::unordered_set<std::uint32_t> inside, seen;
  struct Step {
    Place place;
    bool leaves;
  };
  std::vector<Step> todo{{{"", "", 0, state.root()}, false}};
  for (std::size_t places = 0; !todo.empty(); ++places) {
    const Step step = std::move(todo.back());
    todo.pop_back();
    const std::uint32_t id = step.place.value.id();
    if (step.leaves) {
      inside.erase(id);
      continue;
    }
    if (!visit(step.place) || !is_container(step.place.value)) continue;
    if (inside.contains(id) || (places > kManyPlaces && seen.contains(id))) continue;
    inside.insert(id);
    seen.insert(id);
    todo.push_back({step.place, true});
    std::vector<Place> parts = parts_of(step.place);
    for (std::size_t i = parts.size(); i-- > 0;) todo.push_back({std::move(parts[i]), false});
  }
}

}  // namespace transload::cli
