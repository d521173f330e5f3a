// The stack of the pickle reader. Marks divide it: an opcode that takes "the values above the mark" removes the last one,
// and no opcode takes a single value from below it.
// Facts: CPython, Lib/pickle.py, _Unpickler.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "transload/error.h"
#include "values/node_table.h"

namespace transload {

// What is wrong with an opcode, as the end of a sentence that begins with it: "needs a value, but the stack is empty".
class OpcodeError : public FormatError {
 public:
  using FormatError::FormatError;
};

// Throws OpcodeError where an opcode needs more than there is.
class MarkedStack {
 public:
  void push(NodeId value) { values_.push_back(value); }
  NodeId pop() {
    const NodeId value = top();
    values_.pop_back();
    return value;
  }
  NodeId top() const {
    require(1);
    return values_.back();
  }

  void push_mark() { marks_.push_back(values_.size()); }
  bool ends_with_mark() const { return !marks_.empty() && marks_.back() == values_.size(); }
  void pop_mark() { marks_.pop_back(); }
  // Removes the last mark and returns the values above it. They stay until drop().
  std::span<const NodeId> take_mark() {
    if (marks_.empty()) throw OpcodeError("needs a mark, but there is none");
    const std::size_t begin = marks_.back();
    marks_.pop_back();
    return std::span(values_).subspan(begin);
  }
  // The last values, which stay until drop().
  std::span<const NodeId> last(std::size_t count) const {
    require(count);
    return std::span(values_).last(count);
  }
  // The value below the last `count`.
  NodeId below(std::size_t count) const {
    require(count + 1);
    return values_[values_.size() - count - 1];
  }
  void drop(std::size_t count) { values_.resize(values_.size() - count); }

  std::size_t size() const { return values_.size(); }
  std::size_t mark_count() const { return marks_.size(); }

 private:
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  void require(std::size_t count) const {
    if (values_.size() - floor() < count) throw_missing(count);
  }
  [[noreturn]] void throw_missing(std::size_t count) const {
    throw OpcodeError("needs " + std::to_string(count) + (count == 1 ? " value" : " values") +
                      ", but the stack has " + std::to_string(values_.size() - floor()) +
                      (marks_.empty() ? "" : " above the last mark"));
  }

  std::vector<NodeId> values_;
  std::vector<std::size_t> marks_;
};

}  // namespace transload
