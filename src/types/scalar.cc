// Casts between dtypes. Each real dtype has a codec: it decodes its bits to a wide type (double,
// int64 or uint64) that represents all its values exactly, and encodes them back. Most pairs are
// cast through the wide type of the source, one block at a time; the pairs that models are usually
// cast between have direct loops. A complex number is cast as two real ones.
#include "types/scalar.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>
#include <type_traits>

#include "types/small_float.h"

namespace transload {
namespace {

// Returns the smallest Int for NaN and values out of range, as the x86 instruction cvttsd2si does.
template <class Int>
Int truncate(double value) {
  // NOLINTNEXTLINE(bugprone-integer-division): exact, max() is odd
  constexpr double kEnd = static_cast<double>(std::numeric_limits<Int>::max() / 2 + 1) * 2;
  return value > -kEnd - 1 && value < kEnd ? static_cast<Int>(value)
                                           : std::numeric_limits<Int>::min();
}

std::uint64_t truncate_unsigned(double value) {
  constexpr double kHalf = 9223372036854775808.0;  // 2^63
  if (value >= 2 * kHalf) return 0;
  return value >= kHalf ? static_cast<std::uint64_t>(value)
                        : static_cast<std::uint64_t>(truncate<std::int64_t>(value));
}

// Integers wrap, and floats are truncated toward zero.
template <class Int>
struct Integer {
  using Bits = Int;
  using Wide = std::conditional_t<std::is_same_v<Int, std::uint64_t>, std::uint64_t, std::int64_t>;
  static Wide decode(Bits stored) { return stored; }
  static Bits encode(std::int64_t value) { return static_cast<Bits>(value); }
  static Bits encode(std::uint64_t value) { return static_cast<Bits>(value); }
  static Bits encode(double value) {
    if constexpr (std::is_same_v<Int, std::uint64_t>) return truncate_unsigned(value);
    if constexpr (std::is_same_v<Int, std::int64_t> || std::is_same_v<Int, std::uint32_t>)
      return static_cast<Bits>(truncate<std::int64_t>(value));
    return static_cast<Bits>(truncate<std::int32_t>(value));
  }
};

struct Boolean {
  using Bits = std::uint8_t;
  using Wide = std::int64_t;
  static Wide decode(Bits stored) { return stored != 0; }
  template <class Value>
  static Bits encode(Value value) {
    return value != 0;
  }
};

// float32 and float64.
template <class Float>
struct Native {
  using Bits = Float;
  using Wide = double;
  static Float decode(Bits stored) { return stored; }
  template <class Value>
  static Bits encode(Value value) {
    return static_cast<Float>(value);
  }
};

// Encodes through float32, as the constructors of c10::Half, c10::BFloat16 and the float8 types do.
template <class Small>
struct Reduced {
  using Bits = typename Small::Bits;
  using Wide = double;
  static float decode(Bits stored) { return Small::decode(stored); }
  template <class Value>
  static Bits encode(Value value) {
    return Small::encode(static_cast<float>(value));
  }
};

// Calls use(codec) with the codec of a real dtype.
template <class Use>
void with_codec(Dtype dtype, Use use) {
  switch (dtype) {
    case Dtype::float32:
      return use(Native<float>{});
    case Dtype::float64:
      return use(Native<double>{});
    case Dtype::float16:
      return use(Reduced<Float16>{});
    case Dtype::bfloat16:
      return use(Reduced<BFloat16>{});
    case Dtype::float8_e5m2:
      return use(Reduced<Float8E5M2>{});
    case Dtype::float8_e4m3fn:
      return use(Reduced<Float8E4M3Fn>{});
    case Dtype::float8_e5m2fnuz:
      return use(Reduced<Float8E5M2Fnuz>{});
    case Dtype::float8_e4m3fnuz:
      return use(Reduced<Float8E4M3Fnuz>{});
    case Dtype::float8_e8m0fnu:
      return use(Reduced<Float8E8M0>{});
    case Dtype::int8:
      return use(Integer<std::int8_t>{});
    case Dtype::int16:
      return use(Integer<std::int16_t>{});
    case Dtype::int32:
      return use(Integer<std::int32_t>{});
    case Dtype::int64:
      return use(Integer<std::int64_t>{});
    case Dtype::uint8:
      return use(Integer<std::uint8_t>{});
    case Dtype::uint16:
      return use(Integer<std::uint16_t>{});
    case Dtype::uint32:
      return use(Integer<std::uint32_t>{});
    case Dtype::uint64:
      return use(Integer<std::uint64_t>{});
    case Dtype::boolean:
      return use(Boolean{});
    default:
      assert(false && "complex dtypes and dtypes that cannot be cast have no codec");
  }
}

// Returns the dtype of the real part of a complex dtype; a real dtype itself.
Dtype part_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::complex32:
      return Dtype::float16;
    case Dtype::complex64:
      return Dtype::float32;
    case Dtype::complex128:
      return Dtype::float64;
    default:
      return dtype;
  }
}

constexpr std::size_t kBlock = 256;  // elements per block: 2 KiB of wide values on the stack

template <class From, class To, std::size_t kCount>
void convert_block(const std::byte* source, std::byte* target) {
  typename From::Bits in[kCount];
  typename To::Bits out[kCount];
  std::memcpy(in, source, sizeof in);
  for (std::size_t i = 0; i < kCount; ++i) out[i] = To::encode(From::decode(in[i]));
  std::memcpy(target, out, sizeof out);
}

// The constant block size and the local arrays let compilers vectorize the loop at -O2.
template <class From, class To>
void convert(const std::byte* source, std::byte* target, std::size_t count) {
  constexpr std::size_t kVector = 64;
  constexpr std::size_t kFrom = sizeof(typename From::Bits), kTo = sizeof(typename To::Bits);
  std::size_t i = 0;
  for (; count - i >= kVector; i += kVector)
    convert_block<From, To, kVector>(source + i * kFrom, target + i * kTo);
  for (; i < count; ++i) convert_block<From, To, 1>(source + i * kFrom, target + i * kTo);
}

// Casts the pairs that have a direct loop. Returns false, and does nothing, for all others.
bool convert_directly(Dtype from, const std::byte* source, Dtype to, std::byte* target,
                      std::size_t count) {
  using F32 = Native<float>;
  const auto is = [&](Dtype a, Dtype b) { return from == a && to == b; };
  if (is(Dtype::float32, Dtype::bfloat16))
    convert<F32, BFloat16>(source, target, count);
  else if (is(Dtype::bfloat16, Dtype::float32))
    convert<BFloat16, F32>(source, target, count);
  else if (is(Dtype::float32, Dtype::float16))
    convert<F32, Float16>(source, target, count);
  else if (is(Dtype::float16, Dtype::float32))
    convert<Float16, F32>(source, target, count);
  else if (is(Dtype::float32, Dtype::float64))
    convert<F32, Native<double>>(source, target, count);
  else if (is(Dtype::float64, Dtype::float32))
    convert<Native<double>, F32>(source, target, count);
  else
    return false;
  return true;
}

template <class From>
void cast_from(const std::byte* source, Dtype to, std::byte* target, std::size_t count) {
  typename From::Wide wide[kBlock];
  for (std::size_t i = 0; i < count; ++i) {
    typename From::Bits bits;
    std::memcpy(&bits, source + i * sizeof bits, sizeof bits);
    wide[i] = From::decode(bits);
  }
  with_codec(to, [&](auto codec) {
    using To = decltype(codec);
    for (std::size_t i = 0; i < count; ++i) {
      const typename To::Bits bits = To::encode(wide[i]);
      std::memcpy(target + i * sizeof bits, &bits, sizeof bits);
    }
  });
}

void cast_real(Dtype from, const std::byte* source, Dtype to, std::byte* target,
               std::size_t count) {
  if (convert_directly(from, source, to, target, count)) return;
  with_codec(from, [&](auto codec) {
    for (std::size_t done = 0; done < count; done += kBlock)
      cast_from<decltype(codec)>(source + done * itemsize(from), to, target + done * itemsize(to),
                                 std::min(kBlock, count - done));
  });
}

// A complex number is true if either part is not zero.
void cast_complex_to_boolean(Dtype part, const std::byte* source, std::byte* target,
                             std::size_t count) {
  std::byte parts[2 * kBlock];
  for (std::size_t done = 0; done < count; done += kBlock) {
    const std::size_t n = std::min(kBlock, count - done);
    cast_real(part, source + done * 2 * itemsize(part), Dtype::boolean, parts, 2 * n);
    for (std::size_t i = 0; i < n; ++i) target[done + i] = parts[2 * i] | parts[2 * i + 1];
  }
}

// Drops the imaginary parts. `part` is the dtype of a real part.
void cast_complex_to_real(Dtype part, const std::byte* source, Dtype to, std::byte* target,
                          std::size_t count) {
  std::byte real[kBlock * sizeof(double)];
  const std::size_t nbytes = itemsize(part);
  for (std::size_t done = 0; done < count; done += kBlock) {
    const std::size_t n = std::min(kBlock, count - done);
    for (std::size_t i = 0; i < n; ++i)
      std::memcpy(real + i * nbytes, source + (done + i) * 2 * nbytes, nbytes);
    cast_real(part, real, to, target + done * itemsize(to), n);
  }
}

// Sets the imaginary parts to 0. `part` is the dtype of a real part.
void cast_real_to_complex(Dtype from, const std::byte* source, Dtype part, std::byte* target,
                          std::size_t count) {
  std::byte real[kBlock * sizeof(double)];
  const std::size_t nbytes = itemsize(part);
  std::memset(target, 0, count * 2 * nbytes);
  for (std::size_t done = 0; done < count; done += kBlock) {
    const std::size_t n = std::min(kBlock, count - done);
    cast_elements(from, source + done * itemsize(from), part, real, n);
    for (std::size_t i = 0; i < n; ++i)
      std::memcpy(target + (done + i) * 2 * nbytes, real + i * nbytes, nbytes);
  }
}

}  // namespace

Dtype unit_dtype(std::uint8_t nbytes) {
  return nbytes == 8   ? Dtype::int64
         : nbytes == 4 ? Dtype::int32
         : nbytes == 2 ? Dtype::int16
                       : Dtype::uint8;
}

double element_as_double(Dtype dtype, const std::byte* element) {
  double value = 0;
  cast_elements(part_of(dtype), element, Dtype::float64, reinterpret_cast<std::byte*>(&value), 1);
  return value;
}

void cast_elements(Dtype from, const std::byte* source, Dtype to, std::byte* target,
                   std::size_t count) {
  assert(can_cast(from, to));
  const bool from_complex = info(from).kind == DtypeKind::complex,
             to_complex = info(to).kind == DtypeKind::complex;
  if (from == to) {
    if (count > 0) std::memcpy(target, source, count * itemsize(from));
  } else if (from_complex && to_complex) {
    cast_real(part_of(from), source, part_of(to), target, 2 * count);
  } else if (from_complex && to == Dtype::boolean) {
    cast_complex_to_boolean(part_of(from), source, target, count);
  } else if (from_complex) {
    cast_complex_to_real(part_of(from), source, to, target, count);
  } else if (to_complex) {
    cast_real_to_complex(from, source, part_of(to), target, count);
  } else {
    cast_real(from, source, to, target, count);
  }
}

}  // namespace transload
