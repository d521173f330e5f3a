// All values of a state dict with their names, in the order of the file.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "transload/state_dict.h"

namespace transload::cli {

struct Place {
  std::string_view name;  // keys and positions from the root, joined by '/'; during the visit
  std::string key;        // the last of them
  std::size_t depth;      // of the root 0
  Value value;
};

// Calls visit for the root and all below it; what a container holds comes after it, if visit returned true. What holds
// itself is not entered twice, and what many containers share is not entered for each once that gets out of hand.
void walk(const StateDict& state, const std::function<bool(const Place&)>& visit);

bool is_container(const Value& value);  // that walk() can enter
// A list or tuple of nothing but plain values: it fits a line.
bool is_plain_list(const Value& value);

}  // namespace transload::cli
