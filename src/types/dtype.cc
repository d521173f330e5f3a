// The table of element types and the lookups in it. To add a dtype, add a value to the enum in
// dtype.h and a row here.
#include "transload/dtype.h"

#include <algorithm>
#include <array>

namespace transload {
namespace {

using enum DtypeKind;

// Storage classes: pytorch torch/storage.py, _dtype_to_storage_type_map, to which torch adds no new
// ones. Safetensors names: safetensors/src/tensor.rs, Dtype. Their torch dtypes: safetensors'
// torch.py, _TYPES.
constexpr std::array<DtypeInfo, kDtypeCount> kDtypes{{
    {Dtype::float32, "float32", "FloatStorage", "F32", 32, 4, floating},
    {Dtype::float64, "float64", "DoubleStorage", "F64", 64, 8, floating},
    {Dtype::float16, "float16", "HalfStorage", "F16", 16, 2, floating},
    {Dtype::bfloat16, "bfloat16", "BFloat16Storage", "BF16", 16, 2, floating},
    {Dtype::int8, "int8", "CharStorage", "I8", 8, 1, integer},
    {Dtype::int16, "int16", "ShortStorage", "I16", 16, 2, integer},
    {Dtype::int32, "int32", "IntStorage", "I32", 32, 4, integer},
    {Dtype::int64, "int64", "LongStorage", "I64", 64, 8, integer},
    {Dtype::uint8, "uint8", "ByteStorage", "U8", 8, 1, integer},
    {Dtype::uint16, "uint16", "", "U16", 16, 2, integer},
    {Dtype::uint32, "uint32", "", "U32", 32, 4, integer},
    {Dtype::uint64, "uint64", "", "U64", 64, 8, integer},
    {Dtype::boolean, "bool", "BoolStorage", "BOOL", 8, 1, boolean},
    {Dtype::complex32, "complex32", "", "", 32, 2, complex},
    {Dtype::complex64, "complex64", "ComplexFloatStorage", "C64", 64, 4, complex},
    {Dtype::complex128, "complex128", "ComplexDoubleStorage", "", 128, 8, complex},
    {Dtype::float8_e5m2, "float8_e5m2", "", "F8_E5M2", 8, 1, floating},
    {Dtype::float8_e4m3fn, "float8_e4m3fn", "", "F8_E4M3", 8, 1, floating},
    {Dtype::float8_e5m2fnuz, "float8_e5m2fnuz", "", "F8_E5M2FNUZ", 8, 1, floating},
    {Dtype::float8_e4m3fnuz, "float8_e4m3fnuz", "", "F8_E4M3FNUZ", 8, 1, floating},
    {Dtype::float8_e8m0fnu, "float8_e8m0fnu", "", "F8_E8M0", 8, 1, floating},
    // One element is a pair of 4-bit numbers: torch counts pairs, safetensors counts numbers.
    {Dtype::float4_e2m1fn_x2, "float4_e2m1fn_x2", "", "F4", 8, 1, floating},
    {Dtype::qint8, "qint8", "QInt8Storage", "", 8, 1, quantized},
    {Dtype::quint8, "quint8", "QUInt8Storage", "", 8, 1, quantized},
    {Dtype::qint32, "qint32", "QInt32Storage", "", 32, 4, quantized},
    {Dtype::quint4x2, "quint4x2", "QUInt4x2Storage", "", 4, 1, quantized},
    {Dtype::quint2x4, "quint2x4", "QUInt2x4Storage", "", 2, 1, quantized},
    {Dtype::bits1x8, "bits1x8", "", "", 8, 1, raw},
    {Dtype::bits2x4, "bits2x4", "", "", 8, 1, raw},
    {Dtype::bits4x2, "bits4x2", "", "", 8, 1, raw},
    {Dtype::bits8, "bits8", "", "", 8, 1, raw},
    {Dtype::bits16, "bits16", "", "", 16, 2, raw},
    // torch stores each element in a byte, despite the names.
    {Dtype::uint1, "uint1", "", "", 8, 1, integer},
    {Dtype::uint2, "uint2", "", "", 8, 1, integer},
    {Dtype::uint3, "uint3", "", "", 8, 1, integer},
    {Dtype::uint4, "uint4", "", "", 8, 1, integer},
    {Dtype::uint5, "uint5", "", "", 8, 1, integer},
    {Dtype::uint6, "uint6", "", "", 8, 1, integer},
    {Dtype::uint7, "uint7", "", "", 8, 1, integer},
    {Dtype::int1, "int1", "", "", 8, 1, integer},
    {Dtype::int2, "int2", "", "", 8, 1, integer},
    {Dtype::int3, "int3", "", "", 8, 1, integer},
    {Dtype::int4, "int4", "", "", 8, 1, integer},
    {Dtype::int5, "int5", "", "", 8, 1, integer},
    {Dtype::int6, "int6", "", "", 8, 1, integer},
    {Dtype::int7, "int7", "", "", 8, 1, integer},
    // Four elements take three bytes. torch does not have these dtypes.
    {Dtype::float6_e2m3, "F6_E2M3", "", "F6_E2M3", 6, 1, floating},
    {Dtype::float6_e3m2, "F6_E3M2", "", "F6_E3M2", 6, 1, floating},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kDtypes.size(); ++i)
    if (kDtypes[i].dtype != static_cast<Dtype>(i)) return false;
  return true;
}
static_assert(in_order(), "the rows must be in the order of the enum");

std::optional<Dtype> find(std::string_view DtypeInfo::*column, std::string_view text) {
  if (text.empty()) return std::nullopt;
  const auto row = std::ranges::find(kDtypes, text, column);
  return row == kDtypes.end() ? std::nullopt : std::optional(row->dtype);
}

// Returns whether torch's copy_ casts the dtype; it raises "not implemented" for the others.
bool has_values(Dtype dtype) { return dtype <= Dtype::float8_e8m0fnu; }

}  // namespace

const DtypeInfo& info(Dtype dtype) { return kDtypes[static_cast<std::size_t>(dtype)]; }

std::optional<Dtype> dtype_from_name(std::string_view name) {
  constexpr std::string_view kModule = "torch.";
  const std::string_view bare = name.starts_with(kModule) ? name.substr(kModule.size()) : name;
  return find(&DtypeInfo::name, bare);
}

std::optional<Dtype> dtype_from_storage_class(std::string_view storage_class) {
  return find(&DtypeInfo::storage_class, storage_class);
}

std::optional<Dtype> dtype_from_safetensors(std::string_view name) {
  return find(&DtypeInfo::safetensors, name);
}

bool can_cast(Dtype from, Dtype to) { return from == to || (has_values(from) && has_values(to)); }

}  // namespace transload
