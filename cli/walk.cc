#include "walk.h"

#include <unordered_set>
#include <vector>

namespace transload::cli {
namespace {

bool is_list(const Value& value) {
  return value.is(ValueKind::list) || value.is(ValueKind::tuple) || value.is(ValueKind::set) ||
         value.is(ValueKind::frozenset);
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
  struct Entered {
    Value container;
    std::size_t depth, path_nbytes;
    std::size_t next = 0;  // of its items
  };
  std::unordered_set<std::uint32_t> inside, seen;
  std::vector<Entered> entered;
  std::string path;
  std::size_t places = 0;
  const auto enter = [&](const Value& value, std::string key, std::size_t depth) {
    ++places;
    if (depth > 1) path += '/';
    path += key;
    if (!visit({path, std::move(key), depth, value}) || !is_container(value)) return;
    if (inside.contains(value.id()) || (places > kManyPlaces && !seen.insert(value.id()).second))
      return;
    inside.insert(value.id());
    entered.push_back({value, depth, path.size()});
  };
  enter(state.root(), "", 0);
  while (!entered.empty()) {
    Entered& last = entered.back();
    path.resize(last.path_nbytes);
    if (last.next == last.container.size()) {
      inside.erase(last.container.id());
      entered.pop_back();
      continue;
    }
    const std::size_t i = last.next++, depth = last.depth + 1;
    if (last.container.is_dict()) {
      const auto [key, item] = last.container.entry(i);
      enter(item, name_part(key), depth);
    } else {
      enter(last.container.item(i), std::to_string(i), depth);
    }
  }
}

}  // namespace transload::cli
