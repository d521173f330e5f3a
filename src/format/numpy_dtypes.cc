// Facts: numpy/_core/_type_aliases.py.
#include "format/numpy_dtypes.h"

#include <algorithm>
#include <utility>

namespace transload {

std::optional<Dtype> dtype_from_numpy(std::string_view type) {
  constexpr std::pair<std::string_view, Dtype> kDtypes[] = {
      {"b1", Dtype::boolean},   {"i1", Dtype::int8},       {"i2", Dtype::int16},
      {"i4", Dtype::int32},     {"i8", Dtype::int64},      {"u1", Dtype::uint8},
      {"u2", Dtype::uint16},    {"u4", Dtype::uint32},     {"u8", Dtype::uint64},
      {"f2", Dtype::float16},   {"f4", Dtype::float32},    {"f8", Dtype::float64},
      {"c8", Dtype::complex64}, {"c16", Dtype::complex128}};
  const auto* const found =
      std::ranges::find(kDtypes, type, &std::pair<std::string_view, Dtype>::first);
  return found == std::end(kDtypes) ? std::nullopt : std::optional(found->second);
}

}  // namespace transload
