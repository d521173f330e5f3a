// Element types. The one table of them: what torch and safetensors call each, and how large it is.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace transload {

// Every dtype of PyTorch 2.13, and the two 6-bit floats that safetensors has and torch has not.
enum class Dtype : std::uint8_t {
  float32,
  float64,
  float16,
  bfloat16,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
  boolean,
  complex32,
  complex64,
  complex128,
  float8_e5m2,
  float8_e4m3fn,
  float8_e5m2fnuz,
  float8_e4m3fnuz,
  float8_e8m0fnu,
  float4_e2m1fn_x2,
  qint8,
  quint8,
  qint32,
  quint4x2,
  quint2x4,
  bits1x8,
  bits2x4,
  bits4x2,
  bits8,
  bits16,
  uint1,
  uint2,
  uint3,
  uint4,
  uint5,
  uint6,
  uint7,
  int1,
  int2,
  int3,
  int4,
  int5,
  int6,
  int7,
  float6_e2m3,
  float6_e3m2,
};
inline constexpr int kDtypeCount = static_cast<int>(Dtype::float6_e3m2) + 1;

enum class DtypeKind : std::uint8_t { floating, integer, boolean, complex, quantized, raw };

struct DtypeInfo {
  Dtype dtype;
  std::string_view name;  // torch's, without "torch.": "bfloat16", "bool"
  // in a pickle: "BFloat16Storage"; empty: saved as UntypedStorage, by _rebuild_tensor_v3
  std::string_view storage_class;
  std::string_view safetensors;  // "BF16"; empty: not in that format
  std::uint8_t bits;             // of one element, as shapes count elements
  std::uint8_t swap_nbytes;      // the unit of byte order: 1, 2, 4 or 8; of complex types one half
  DtypeKind kind;
};

const DtypeInfo& info(Dtype dtype);

inline std::string_view name(Dtype dtype) { return info(dtype).name; }

// Bytes of one element. Of the sub-byte types 1: they are addressed by the byte that holds them.
inline std::uint64_t itemsize(Dtype dtype) {
  return info(dtype).bits < 8 ? 1 : info(dtype).bits / 8;
}

// By torch's name with or without "torch.", by a pickle's storage class, by safetensors' name.
std::optional<Dtype> dtype_from_name(std::string_view name);
std::optional<Dtype> dtype_from_storage_class(std::string_view storage_class);
std::optional<Dtype> dtype_from_safetensors(std::string_view name);

// Whether elements of `from` can be converted to `to`, as torch's copy_ converts them.
bool can_cast(Dtype from, Dtype to);

}  // namespace transload
