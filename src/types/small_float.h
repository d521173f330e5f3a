// Floating point numbers of 16 and 8 bits: their bits to float32 and back, rounded to nearest even.
// Each has Bits, decode() and encode(), written without branches so that loops over them become vector code.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace transload {

// What the largest bit patterns mean.
enum class Specials {
  ieee,  // the highest exponent is infinity and NaNs
  fn,    // no infinity; all ones is NaN
  fnuz,  // no infinity, no negative zero, whose pattern is NaN
};

// sign, exponent, mantissa, from the highest bit down. Source of the special cases: what torch 2.13 does with every bit
// pattern and every value halfway between two; pytorch c10/util/Half.h, Float8_e5m2.h, Float8_e4m3fn.h, Float8_fnuz_cvt.h
template <class BitsType, int kExponentBits, int kMantissaBits, int kBias, Specials kSpecials,
          std::uint32_t kNan>
struct SmallFloat {
  using Bits = BitsType;
  static constexpr int kShift = 23 - kMantissaBits;  // float32 has 23 bits of mantissa
  static constexpr std::uint32_t kSignBit = 1u << (kExponentBits + kMantissaBits);
  static constexpr std::uint32_t kRebias = static_cast<std::uint32_t>(127 - kBias) << 23;
  static constexpr std::uint32_t kSmallestNormal = static_cast<std::uint32_t>(128 - kBias) << 23;
  // What values beyond the largest become: infinity; the largest itself; NaN.
  static constexpr std::uint32_t kBeyond = kSpecials == Specials::ieee
                                               ? ((1u << kExponentBits) - 1) << kMantissaBits
                                           : kSpecials == Specials::fn ? kNan - 1
                                                                       : kNan;

  static float decode(Bits stored) {
    const std::uint32_t magnitude = stored & (kSignBit - 1);
    const std::uint32_t sign = (stored & kSignBit) / kSignBit << 31;
    // 2^(1 - bias - mantissa bits): the last place of the subnormal numbers
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
    // Half of the last place, less one if that one is even, rounds to nearest even; a carry goes into the exponent.
    const std::uint32_t half = (1u << (kShift - 1)) - 1 + ((magnitude >> kShift) & 1);
    const std::uint32_t normal = (magnitude - kRebias + half) >> kShift;
    // A float32 whose last place is that of the subnormal numbers: adding it rounds there.
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

// The upper half of a float32.
struct BFloat16 {
  using Bits = std::uint16_t;
  static float decode(Bits stored) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(stored) << 16);
  }
  static Bits encode(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    // 0x7FC0: pytorch c10/util/BFloat16.h, round_to_nearest_even. Its vector code has other NaNs.
    return static_cast<Bits>((bits & 0x7FFF'FFFFu) > 0x7F80'0000u ? 0x7FC0 : rounded);
  }
};

// The exponent of a float32 alone: a power of two, 2^-127 for no bits set, NaN for all.
struct Float8E8M0 {
  using Bits = std::uint8_t;
  static float decode(Bits stored) {
    constexpr std::uint32_t kSmallest = 0x0040'0000;  // 2^-127, a subnormal float32
    const std::uint32_t bits = static_cast<std::uint32_t>(stored) << 23;
    return std::bit_cast<float>(stored == 0xFF ? 0x7FC0'0000u : stored == 0 ? kSmallest : bits);
  }
  // The sign is dropped. pytorch c10/util/Float8_e8m0fnu.h: halfway goes up, unless the exponent is the lowest.
  static Bits encode(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value) & 0x7FFF'FFFFu;
    const std::uint32_t exponent = bits >> 23, mantissa = bits & 0x7F'FFFFu;
    const std::uint32_t up =
        mantissa > 0x40'0000u || (mantissa == 0x40'0000u && exponent > 0) ? 1 : 0;
    return static_cast<Bits>(exponent == 0xFF ? 0xFF : exponent + up);
  }
};

}  // namespace transload
