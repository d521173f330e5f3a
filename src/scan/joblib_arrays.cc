#include "scan/joblib_arrays.h"

#include <algorithm>
#include <optional>
#include <string>

#include "scan/pickle_dtypes.h"

namespace transload {
namespace {

using Kind = Known::Kind;

std::optional<std::uint64_t> number_of_elements(const Texts& texts, const Known& shape,
                                                std::size_t most_elements) {
  if (shape.kind != Kind::tuple) return std::nullopt;
  const auto items = texts.items(shape);
  if (items.size() == kMaxTupleItems) return std::nullopt;  // there may be more
  std::uint64_t count = 1;
  for (const Known& item : items) {
    if (item.kind != Kind::integer) return std::nullopt;
    count *= item.text;
    if (count > most_elements) return std::nullopt;
  }
  return count;
}

}  // namespace

bool is_array_state(const Texts& texts, std::span<const Known> items) {
  return std::ranges::any_of(
      items, [&](const Known& item) { return item.kind == Kind::text && texts[item] == "shape"; });
}

ArrayState read_array_state(const Texts& texts, std::span<const Known> items,
                            std::size_t most_elements) {
  ArrayState state;
  std::optional<std::uint64_t> count, itemsize;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
    if (items[i].kind != Kind::text) continue;
    const std::string& key = texts[items[i]];
    const Known& value = items[i + 1];
    if (key == "shape") count = number_of_elements(texts, value, most_elements);
    if (key == "numpy_array_alignment_bytes") state.is_padded = value.kind != Kind::none;
    if (key != "dtype" || !is_dtype(value)) continue;
    const DtypeCode code(texts.code_of_dtype(value));
    state.is_of_objects = code.is_of_objects();
    if (code.letter != '\0') itemsize = code.nbytes;
  }
  if (count && itemsize && *itemsize > 0) state.nbytes = *count * *itemsize;
  return state;
}

std::uint64_t array_nbytes(const ArrayState& array, std::span<const std::byte> behind) {
  if (!array.nbytes) throw Broken{"has an array of joblib whose length cannot be told", true};
  std::uint64_t nbytes = *array.nbytes;
  if (array.is_padded && !behind.empty()) nbytes += 1 + static_cast<std::uint64_t>(behind[0]);
  return nbytes;
}

}  // namespace transload
