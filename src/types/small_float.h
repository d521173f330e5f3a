// 16-bit and 8-bit floating point formats: decode() converts bits to float32, encode() converts
// float32 to bits, rounding to nearest even. Both are free of branches so that loops over them
// vectorize.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace transload {

// The meaning of the largest bit patterns.
enum class Specials {
  ieee,  // the highest exponent encodes infinity and NaNs
  fn,    // no infinity; all ones encodes NaN
  fnuz,  // no infinity and no negative zero; the pattern of negative zero encodes NaN
};

// Layout from the highest bit: sign, exponent, mantissa. The special cases follow pytorch
// c10/util/Half.h, Float8_e5m2.h, Float8_e4m3fn.h and Float8_fnuz_cvt.h; they were compared with
// torch 2.13 for every bit pattern and every value halfway between two patterns.
template <class BitsType, int kExponentBits, int kMantissaBits, int kBias, Specials kSpecials,
          std::uint32_t kNan>
struct SmallFloat {
  using Bits = BitsType;
  static constexpr int kShift = 23 - kMantissaBits;  // float32 has 23 bits of mantissa
  static constexpr std::uint32_t kSignBit = 1u << (kExponentBits + kMantissaBits);
  static constexpr std::uint32_t kRebias = static_cast<std::uint32_t>(127 - kBias) << 23;
  static constexpr std::uint32_t kSmallestNormal = static_cast<std::uint32_t>(128 - kBias) << 23;
  // The result for values that are too large: infinity (ieee), the largest number (fn), NaN (fnuz).
  static constexpr std::uint32_t kBeyond = kSpecials == Specials::ieee
                                               ? ((1u << kExponentBits) - 1) << kMantissaBits
                                           : kSpecials == Specials::fn ? kNan - 1
                                                                       : kNan;

  static float decode(Bits stored) {
    const std::uint32_t magnitude = stored & (kSignBit - 1);
    const std::uint32_t sign = (stored & kSignBit) / kSignBit << 31;
    // 2^(1 - bias - mantissa bits): the distance between subnormal numbers
    constexpr float kStep =
        std::bit_cast<float>(static_cast<std::uint32_t>(128 - kBias - kMantissaBits) << 23);
    const auto subnormal = std::bit_cast<std::uint32_t>(
        static_cast<float>(static_cast<std::int32_t>(magnitude)) * kStep);
    const std::uint32_t normal = (magnitude << kShift) + kRebias;
    std::uint32_t bits = magnitude < (1u << kMantissaBits) ? subnormal : normal;
    if constexpr (kSpecials == Specials::ieee)
      bits = magnitude >= kBeyond ? (magnitude << kShift) | 0x7F80'0000u : bits;
    else if constexpr (kSpecials == Specials::fn)
      bits = magnitude == kNan ? 0x7FC0'0000u : bits;
    else
      bits = stored == kNan ? 0x7FC0'0000u : bits;
    return std::bit_cast<float>(bits | sign);
  }

  static Bits encode(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = bits & 0x7FFF'FFFFu;
    // Adding half a unit in the last place, less one if the last bit is even, rounds to nearest
    // even. A carry increments the exponent, as it should.
    const std::uint32_t half = (1u << (kShift - 1)) - 1 + ((magnitude >> kShift) & 1);
    const std::uint32_t normal = (magnitude - kRebias + half) >> kShift;
    // A float32 whose last bit has the weight of the smallest subnormal: adding it rounds to that
    // bit.
    constexpr std::uint32_t kRounder = static_cast<std::uint32_t>(151 - kBias - kMantissaBits)
                                       << 23;
    const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) +
                                                                 std::bit_cast<float>(kRounder)) -
                                    kRounder;
    std::uint32_t result = magnitude < kSmallestNormal ? subnormal : std::min(normal, kBeyond);
    result = magnitude > 0x7F80'0000u ? kNan : result;
    const std::uint32_t sign = bits >> 31 ? kSignBit : 0;
    if constexpr (kSpecials == Specials::fnuz)
      return static_cast<Bits>(result == 0 || result == kNan ? result : result | sign);
    else
      return static_cast<Bits>(result | sign);
  }
};

using Float16 = SmallFloat<std::uint16_t, 5, 10, 15, Specials::ieee, 0x7E00>;
using Float8E5M2 = SmallFloat<std::uint8_t, 5, 2, 15, Specials::ieee, 0x7F>;
using Float8E4M3Fn = SmallFloat<std::uint8_t, 4, 3, 7, Specials::fn, 0x7F>;
using Float8E5M2Fnuz = SmallFloat<std::uint8_t, 5, 2, 16, Specials::fnuz, 0x80>;
using Float8E4M3Fnuz = SmallFloat<std::uint8_t, 4, 3, 8, Specials::fnuz, 0x80>;

// bfloat16: the upper half of a float32.
struct BFloat16 {
  using Bits = std::uint16_t;
  static float decode(Bits stored) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(stored) << 16);
  }
  static Bits encode(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    // NaN is 0x7FC0: pytorch c10/util/BFloat16.h, round_to_nearest_even. torch's vector code makes
    // other NaNs.
    return static_cast<Bits>((bits & 0x7FFF'FFFFu) > 0x7F80'0000u ? 0x7FC0 : rounded);
  }
};

// float8_e8m0fnu: only the exponent of a float32, a power of two. 0 encodes 2^-127, 0xFF encodes
// NaN.
struct Float8E8M0 {
  using Bits = std::uint8_t;
  static float decode(Bits stored) {
    constexpr std::uint32_t kSmallest = 0x0040'0000;  // 2^-127, a subnormal float32
    const std::uint32_t bits = static_cast<std::uint32_t>(stored) << 23;
    return std::bit_cast<float>(stored == 0xFF ? 0x7FC0'0000u : stored == 0 ? kSmallest : bits);
  }
  // Drops the sign. A value halfway between two powers rounds up unless the exponent is 0: pytorch
  // c10/util/Float8_e8m0fnu.h.
  static Bits encode(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value) & 0x7FFF'FFFFu;
    const std::uint32_t exponent = bits >> 23, mantissa = bits & 0x7F'FFFFu;
    const std::uint32_t up =
        mantissa > 0x40'0000u || (mantissa == 0x40'0000u && exponent > 0) ? 1 : 0;
    return static_cast<Bits>(exponent == 0xFF ? 0xFF : exponent + up);
  }
};

}  // namespace transload
