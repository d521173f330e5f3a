// The memo of a pickle: values that it mentions again, by number. The numbers are a claim of the file: consecutive ones go
// into a table, others into a map.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace transload {

template <class Value>
class PickleMemo {
 public:
  void put(std::uint64_t number, const Value& value) {
    if (number < dense_.size()) {
      dense_[number] = value;
    } else if (number == dense_.size()) {
      dense_.push_back(value);
      sparse_.erase(number);
    } else {
      sparse_[number] = value;
    }
  }
  // MEMOIZE: under the number of values that there are.
  void append(const Value& value) { put(dense_.size() + sparse_.size(), value); }

  // Null: never stored. Valid until the next put().
  const Value* find(std::uint64_t number) const {
    if (number < dense_.size()) return &dense_[number];
    const auto found = sparse_.find(number);
    return found == sparse_.end() ? nullptr : &found->second;
  }

 private:
  std::vector<Value> dense_;
  std::map<std::uint64_t, Value> sparse_;
};

}  // namespace transload
