// Known: the little that the scanner keeps of a value on a pickle's stack, and the tables that it refers to. Values are copied
// all the time, so each is a few bytes; texts and tuples are kept once, in Texts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pickle/globals.h"

namespace transload {

// Thrown and caught by the scanner: the walk ends, what it found so far counts.
struct Broken {
  std::string why;
  bool is_limit = false;  // a loader would go on: the scanner gives up
};

struct Known {
  enum class Kind : std::uint8_t {
    nothing,
    none,
    integer,      // not negative, in `text`
    text,         // its number in Texts
    global,       // "module\nname" in Texts
    result,       // of a call of the global `text`; `more`: of numpy.dtype, the text of its code
    attribute,    // what getattr gave: "module\nname.attribute" in Texts
    tuple,        // its number in Texts
    dict,         // `text`: number of the EMPTY_DICT; `more`: DictContents
    array_state,  // a dict with the shape and the dtype of an array: its number in Texts
    storage_id,   // ("storage", class, …)
    looked_up     // what the loader's persistent_load returned
  } kind = Kind::nothing;
  // A text that reads as a path, a URL or a command, or a tuple that holds such a text.
  bool has_resource = false;
  std::uint32_t text = 0, more = 0;

  friend bool operator==(const Known&, const Known&) = default;
};

// Of a dict that one SETITEM or SETITEMS filled, the instruction before: whether values are dtypes with objects.
enum class DictContents : std::uint32_t { unknown, without_objects, with_objects };

// A global as one text: "module\nname".
struct GlobalName {
  explicit GlobalName(std::string_view text)
      : module(text.substr(0, text.find('\n'))), name(text.substr(text.find('\n') + 1)) {}
  std::string_view module, name;
};
// "module.name"
std::string shown(std::string text);

// What the table of globals says, and the names that the scanner treats on its own; looked up once for each name.
struct AboutGlobal {
  GlobalKind kind;
  Constructor constructor;
  bool is_scalar = false;   // numpy.core.multiarray.scalar
  bool is_dtype = false;    // numpy.dtype
  bool is_wrapper = false;  // joblib's NumpyArrayWrapper: the bytes of an array follow
};

// What joblib reads behind a NumpyArrayWrapper: the elements of its array. Source: joblib/numpy_pickle.py.
struct ArrayState {
  std::optional<std::uint64_t> nbytes;  // empty: not understood
  bool is_of_objects = false;           // a pickle follows
  bool is_padded = false;               // a byte says how many of padding follow
};

constexpr std::size_t kMaxName = 1000;  // a longer text is not the name of anything
constexpr std::size_t kMaxTupleItems = 8;

class Texts {
 public:
  explicit Texts(std::size_t most_nbytes) : most_nbytes_(most_nbytes) {
    number_of("");  // 0 stands for no text
  }

  const std::string& operator[](const Known& value) const { return *texts_[value.text]; }
  const std::string& code_of_dtype(const Known& dtype) const { return *texts_[dtype.more]; }
  const AboutGlobal& about(const Known& global);

  Known global(std::string_view module, std::string_view name);
  // A long text is not a name, but must not pass for an empty one: a part of it is kept.
  Known text(std::string_view text);
  // With escapes a text says something else than its bytes. No pickler writes a name with any, so nothing is known of it.
  Known escaped_text(std::string_view escaped) {
    return escaped.find('\\') == escaped.npos ? text(escaped) : Known{};
  }
  Known quoted_text(std::string_view quoted) {
    return escaped_text(quoted.size() >= 2 ? quoted.substr(1, quoted.size() - 2) : quoted);
  }
  Known attribute(const Known& owner, const Known& name);
  Known dtype(const Known& global, const Known& code);

  // The first kMaxTupleItems items are kept.
  Known tuple(std::span<const Known> items);
  std::span<const Known> items(const Known& tuple) const;
  // True once for each tuple.
  bool visit(const Known& tuple);

  Known array_state(const ArrayState& state) {
    states_.push_back(state);
    return {Known::Kind::array_state, false, static_cast<std::uint32_t>(states_.size() - 1)};
  }
  const ArrayState& state(const Known& array_state) const { return states_[array_state.text]; }

 private:
  std::uint32_t number_of(std::string text);

  const std::size_t most_nbytes_;
  std::size_t nbytes_ = 0;
  std::map<std::string, std::uint32_t> numbers_;
  std::vector<const std::string*> texts_;
  std::unordered_map<std::uint32_t, AboutGlobal> about_;  // by the number of the name
  struct Tuple {
    std::vector<Known> items;
    bool is_visited = false;
  };
  std::unordered_map<std::string, std::uint32_t> tuple_numbers_;
  std::vector<Tuple> tuples_;
  std::vector<ArrayState> states_;
};

// NumPy's code of a dtype, as pickles have it: "f8", "U5", "O8", "V16".
struct DtypeCode {
  explicit DtypeCode(std::string_view code);
  char letter = '\0';  // '\0': not understood
  std::uint64_t nbytes = 0;
  bool is_of_objects() const { return letter == 'O'; }
  bool is_simple() const { return letter != '\0' && letter != 'O' && letter != 'V'; }
  bool has_own_size() const { return letter == 'S' || letter == 'U' || letter == 'V'; }
};

// Values and marks. A loader fails on an empty stack, but the opcodes before have run by then: that ends the walk.
class KnownStack {
 public:
  void push(Known value) { values_.push_back(value); }
  Known pop();
  Known top() const { return values_.empty() ? Known{} : values_.back(); }
  void replace_top(Known value) {
    if (!values_.empty()) values_.back() = value;
  }
  bool is_empty() const { return values_.empty(); }

  void push_mark() { marks_.push_back(values_.size()); }
  void pop_value_or_mark();
  // Removes the last mark and returns the values above it. They stay until drop().
  std::span<const Known> take_mark();
  // The last values, fewer if there are not as many. They stay until drop().
  std::span<const Known> last(std::size_t count) const {
    return std::span(values_).last(std::min(count, values_.size()));
  }
  void drop(std::size_t count) { values_.resize(values_.size() - count); }

 private:
  std::vector<Known> values_;
  std::vector<std::size_t> marks_;
};

}  // namespace transload
