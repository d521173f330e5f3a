// Dtype: the element types of PyTorch and safetensors, with their names and sizes. One table
// (src/types/dtype.cc) holds every fact about a dtype; the functions below look it up.
//
//   transload::Dtype dtype = *transload::dtype_from_name("bfloat16");
//   std::uint64_t nbytes = transload::itemsize(dtype);  // 2
//
// All functions may be called from any thread. None of them throws.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace transload {

// Every dtype of PyTorch 2.13, followed by the two 6-bit floats that only safetensors has.
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

// raw: torch's bits* dtypes, which have no arithmetic.
enum class DtypeKind : std::uint8_t { floating, integer, boolean, complex, quantized, raw };

struct DtypeInfo {
  Dtype dtype;
  std::string_view name;  // torch's name without "torch.": "bfloat16", "bool"
  // The storage class in a pickle: "BFloat16Storage". Empty if torch saves the dtype as
  // UntypedStorage, rebuilt by torch._utils._rebuild_tensor_v3.
  std::string_view storage_class;
  std::string_view safetensors;  // "BF16"; empty if the format does not have the dtype
  std::uint8_t bits;             // bits per element, as shapes count elements
  std::uint8_t swap_nbytes;  // bytes per unit of byte order: 1, 2, 4 or 8; half a complex number
  DtypeKind kind;
};

// Returns the table row of a dtype. The row lives as long as the program.
const DtypeInfo& info(Dtype dtype);

// Returns torch's name without "torch.": "bfloat16".
inline std::string_view name(Dtype dtype) { return info(dtype).name; }

// Returns the bytes per element. Returns 1 for the sub-byte dtypes, which are addressed by the byte
// that holds them.
inline std::uint64_t itemsize(Dtype dtype) {
  return info(dtype).bits < 8 ? 1 : info(dtype).bits / 8;
}

// Return the dtype with this name, or nullopt if there is none. The name is torch's, with or
// without "torch."; a storage class in a pickle, such as "FloatStorage"; or the name in a
// safetensors header.
std::optional<Dtype> dtype_from_name(std::string_view name);
std::optional<Dtype> dtype_from_storage_class(std::string_view storage_class);
std::optional<Dtype> dtype_from_safetensors(std::string_view name);

// Returns whether elements of dtype `from` can be converted to `to`, as torch's copy_ converts
// them.
bool can_cast(Dtype from, Dtype to);

}  // namespace transload
