// Nested state dicts in one expression, for tests: dict_of({{"model", dict_of({{"w",
// tensor_of(1)}})}}).
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "transload/error.h"
#include "transload/state_dict.h"

namespace transload {

// A float32 tensor of shape [1].
inline Tensor tensor_of(float value) { return from_values(std::vector<float>{value}, {1}); }

inline float value_of(const Tensor& tensor) {
  float value = 0;
  std::memcpy(&value, element_bytes(tensor).data(), sizeof value);
  return value;
}

// An Item that may be a temporary StateDict, which it keeps.
class Nested {
 public:
  Nested(const StateDict& state)
      : state_(std::make_shared<StateDict>(state)), item_(std::cref(*state_)) {}
  template <class T>
  requires(!std::is_integral_v<T> && std::is_constructible_v<Item, T>) Nested(T value)
      : item_(std::move(value)) {}
  Nested(const char* text) : item_(std::string(text)) {}
  Nested(bool value) : item_(value) {}
  Nested(int value) : item_(std::int64_t{value}) {}
  const Item& item() const { return item_; }

 private:
  std::shared_ptr<const StateDict> state_;
  Item item_;
};

inline StateDict dict_of(const std::vector<std::pair<std::string, Nested>>& entries) {
  StateDict state = StateDict::dict();
  for (const auto& [key, value] : entries) state.set(key, value.item());
  return state;
}

inline StateDict ints_of(const std::vector<std::pair<int, Nested>>& entries) {
  StateDict state = StateDict::dict();
  for (const auto& [key, value] : entries) state.set(std::int64_t{key}, value.item());
  return state;
}

inline StateDict list_of(const std::vector<Nested>& items) {
  StateDict state = StateDict::list();
  for (const Nested& value : items) state.append(value.item());
  return state;
}

inline StateDict tuple_of(const std::vector<Nested>& items) {
  std::vector<Item> all;
  for (const Nested& value : items) all.push_back(value.item());
  return StateDict::tuple(all);
}

inline std::vector<std::string> names_of(const StateDict& state) {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : state.tensors()) names.push_back(tensor.name);
  return names;
}

// What the Error says that a call throws.
inline std::string message(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace transload
