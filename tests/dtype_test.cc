// The table of dtypes, and casts between dtypes as torch's copy_ does them. Expected bits are those
// of torch 2.13 on x86.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "transload/dtype.h"
#include "types/scalar.h"

namespace transload {
namespace {

template <class To, class From>
std::vector<To> cast(Dtype from, const std::vector<From>& values, Dtype to) {
  const std::size_t count = values.size() * sizeof(From) / itemsize(from);
  std::vector<To> out(count * itemsize(to) / sizeof(To));
  cast_elements(from, reinterpret_cast<const std::byte*>(values.data()), to,
                reinterpret_cast<std::byte*>(out.data()), count);
  return out;
}

TEST(DtypeTable, EveryDtypeIsFoundByItsNames) {
  for (int i = 0; i < kDtypeCount; ++i) {
    const DtypeInfo& row = info(static_cast<Dtype>(i));
    EXPECT_EQ(row.dtype, static_cast<Dtype>(i));
    EXPECT_EQ(dtype_from_name(row.name), row.dtype);
    EXPECT_EQ(dtype_from_name("torch." + std::string(row.name)), row.dtype);
    if (!row.storage_class.empty()) {
      EXPECT_EQ(dtype_from_storage_class(row.storage_class), row.dtype);
    }
    if (!row.safetensors.empty()) {
      EXPECT_EQ(dtype_from_safetensors(row.safetensors), row.dtype);
    }
  }
  EXPECT_EQ(dtype_from_name("float33"), std::nullopt);
  EXPECT_EQ(dtype_from_name(""), std::nullopt);
  EXPECT_EQ(dtype_from_storage_class(""), std::nullopt);
  EXPECT_EQ(dtype_from_safetensors("f32"), std::nullopt);
}

TEST(DtypeTable, AnElementHasAsManyBytesAsInTorch) {
  EXPECT_EQ(itemsize(Dtype::complex128), 16u);
  EXPECT_EQ(itemsize(Dtype::bfloat16), 2u);
  EXPECT_EQ(itemsize(Dtype::float4_e2m1fn_x2), 1u);
  EXPECT_EQ(itemsize(Dtype::quint4x2), 1u);
  EXPECT_EQ(info(Dtype::quint4x2).bits, 4);
  EXPECT_EQ(info(Dtype::quint2x4).bits, 2);
  EXPECT_EQ(info(Dtype::complex64).swap_nbytes, 4);
}

TEST(Cast, IsThereForAllPairsThatTorchHas) {
  EXPECT_TRUE(can_cast(Dtype::float8_e8m0fnu, Dtype::complex32));
  EXPECT_TRUE(can_cast(Dtype::uint64, Dtype::boolean));
  EXPECT_TRUE(can_cast(Dtype::int4, Dtype::int4));
  EXPECT_FALSE(can_cast(Dtype::int4, Dtype::int8));
  EXPECT_FALSE(can_cast(Dtype::float32, Dtype::float4_e2m1fn_x2));
  EXPECT_FALSE(can_cast(Dtype::quint8, Dtype::uint8));
}

constexpr float kInf = std::numeric_limits<float>::infinity();
const std::vector<float> kFloats{0.F,   -0.F,  1.F,   1.F / 3, -2.5F, 65504.F, 65520.F, 1e-8F,
                                 6e-8F, 448.F, 465.F, 1e30F,   kInf,  -kInf,   3.4e38F, 0.0625F};

TEST(Cast, RoundsToSmallerFloatsAsTorchDoes) {
  const auto shorts = [](Dtype to) { return cast<std::uint16_t>(Dtype::float32, kFloats, to); };
  const auto bytes = [](Dtype to) { return cast<std::uint8_t>(Dtype::float32, kFloats, to); };
  EXPECT_EQ(shorts(Dtype::float16),
            (std::vector<std::uint16_t>{0, 0x8000, 0x3c00, 0x3555, 0xc100, 0x7bff, 0x7c00, 0, 1,
                                        0x5f00, 0x5f44, 0x7c00, 0x7c00, 0xfc00, 0x7c00, 0x2c00}));
  EXPECT_EQ(
      shorts(Dtype::bfloat16),
      (std::vector<std::uint16_t>{0, 0x8000, 0x3f80, 0x3eab, 0xc020, 0x4780, 0x4780, 0x322c, 0x3381,
                                  0x43e0, 0x43e8, 0x714a, 0x7f80, 0xff80, 0x7f80, 0x3d80}));
  EXPECT_EQ(bytes(Dtype::float8_e5m2),
            (std::vector<std::uint8_t>{0, 0x80, 0x3c, 0x35, 0xc1, 0x7c, 0x7c, 0, 0, 0x5f, 0x5f,
                                       0x7c, 0x7c, 0xfc, 0x7c, 0x2c}));
  EXPECT_EQ(bytes(Dtype::float8_e4m3fn),
            (std::vector<std::uint8_t>{0, 0x80, 0x38, 0x2b, 0xc2, 0x7e, 0x7e, 0, 0, 0x7e, 0x7e,
                                       0x7e, 0x7e, 0xfe, 0x7e, 0x18}));
  EXPECT_EQ(bytes(Dtype::float8_e5m2fnuz),
            (std::vector<std::uint8_t>{0, 0, 0x40, 0x39, 0xc5, 0x80, 0x80, 0, 0, 0x63, 0x63, 0x80,
                                       0x80, 0x80, 0x80, 0x30}));
  EXPECT_EQ(bytes(Dtype::float8_e4m3fnuz),
            (std::vector<std::uint8_t>{0, 0, 0x40, 0x33, 0xca, 0x80, 0x80, 0, 0, 0x80, 0x80, 0x80,
                                       0x80, 0x80, 0x80, 0x20}));
  EXPECT_EQ(bytes(Dtype::float8_e8m0fnu),
            (std::vector<std::uint8_t>{0, 0, 0x7f, 0x7d, 0x80, 0x8f, 0x8f, 0x64, 0x67, 0x88, 0x88,
                                       0xe3, 0xff, 0xff, 0xff, 0x7b}));
}

TEST(Cast, KeepsEverySmallFloatOnItsWayThroughALargerOne) {
  for (const Dtype dtype :
       {Dtype::float16, Dtype::bfloat16, Dtype::float8_e5m2, Dtype::float8_e4m3fn,
        Dtype::float8_e5m2fnuz, Dtype::float8_e4m3fnuz, Dtype::float8_e8m0fnu}) {
    for (std::uint32_t bits = 0; bits < 1u << info(dtype).bits; ++bits) {
      std::uint16_t stored = static_cast<std::uint16_t>(bits), back = 0;
      const auto* source = reinterpret_cast<const std::byte*>(&stored);
      float value;
      cast_elements(dtype, source, Dtype::float32, reinterpret_cast<std::byte*>(&value), 1);
      cast_elements(Dtype::float32, reinterpret_cast<const std::byte*>(&value), dtype,
                    reinterpret_cast<std::byte*>(&back), 1);
      if (!std::isnan(value)) {
        EXPECT_EQ(stored, back) << name(dtype);
      }
      const double as_double = element_as_double(dtype, source);
      EXPECT_TRUE(std::isnan(value) ? std::isnan(as_double) : as_double == value)
          << name(dtype) << " " << bits;
    }
  }
}

TEST(Cast, ANanStaysOne) {
  const std::vector<float> nan{std::numeric_limits<float>::quiet_NaN(),
                               -std::numeric_limits<float>::quiet_NaN()};
  for (const Dtype dtype :
       {Dtype::float64, Dtype::float16, Dtype::bfloat16, Dtype::float8_e5m2, Dtype::float8_e4m3fn,
        Dtype::float8_e5m2fnuz, Dtype::float8_e4m3fnuz, Dtype::float8_e8m0fnu}) {
    const auto bytes = cast<std::byte>(Dtype::float32, nan, dtype);
    EXPECT_TRUE(std::isnan(element_as_double(dtype, bytes.data()))) << name(dtype);
    EXPECT_TRUE(std::isnan(element_as_double(dtype, bytes.data() + itemsize(dtype))))
        << name(dtype);
  }
}

TEST(Cast, OfManyElementsIsThatOfEach) {
  std::vector<float> many(1000);
  for (std::size_t i = 0; i < many.size(); ++i)
    many[i] = std::ldexp(static_cast<float>(i) - 500.F, static_cast<int>(i % 40) - 30);
  for (const Dtype dtype :
       {Dtype::float16, Dtype::bfloat16, Dtype::float64, Dtype::int32, Dtype::complex64}) {
    const auto together = cast<std::byte>(Dtype::float32, many, dtype);
    for (std::size_t i = 0; i < many.size(); ++i) {
      const auto alone = cast<std::byte>(Dtype::float32, std::vector<float>{many[i]}, dtype);
      EXPECT_EQ(std::memcmp(alone.data(), together.data() + i * itemsize(dtype), itemsize(dtype)),
                0)
          << name(dtype) << i;
    }
  }
}

TEST(Cast, ToAnIntegerDropsTheFraction) {
  EXPECT_EQ(cast<std::int8_t>(Dtype::float32, std::vector<float>{1.9F, -1.9F, -0.5F, 300.F, -129.F},
                              Dtype::int8),
            (std::vector<std::int8_t>{1, -1, 0, 44, 127}));
  EXPECT_EQ(cast<std::uint64_t>(Dtype::float64, std::vector<double>{-1., 1e19, 0.5}, Dtype::uint64),
            (std::vector<std::uint64_t>{~0ull, 10'000'000'000'000'000'000ull, 0}));
}

TEST(Cast, BeyondAnIntegersRangeIsAsOnX86) {
  const std::vector<float> far{3e9F, kInf, -kInf, std::numeric_limits<float>::quiet_NaN()};
  constexpr auto kLeast = std::numeric_limits<std::int32_t>::min();
  EXPECT_EQ(cast<std::int32_t>(Dtype::float32, far, Dtype::int32),
            (std::vector<std::int32_t>{kLeast, kLeast, kLeast, kLeast}));
  EXPECT_EQ(cast<std::int64_t>(Dtype::float32, far, Dtype::int64)[1],
            std::numeric_limits<std::int64_t>::min());
}

TEST(Cast, IntegersWrapAndStayExact) {
  EXPECT_EQ(cast<std::int8_t>(Dtype::int32, std::vector<std::int32_t>{300, -129, -1}, Dtype::int8),
            (std::vector<std::int8_t>{44, 127, -1}));
  const std::vector<std::int64_t> exact{9'007'199'254'740'993, -1};  // no double equals 2^53 + 1
  EXPECT_EQ(cast<std::uint64_t>(Dtype::int64, exact, Dtype::uint64),
            (std::vector<std::uint64_t>{9'007'199'254'740'993, ~0ull}));
  EXPECT_EQ(cast<float>(Dtype::uint64, std::vector<std::uint64_t>{~0ull}, Dtype::float32),
            std::vector<float>{18446744073709551616.F});
}

TEST(Cast, AnythingButZeroIsTrue) {
  EXPECT_EQ(cast<std::uint8_t>(Dtype::float32, std::vector<float>{0.F, -0.F, 0.5F, std::nanf("")},
                               Dtype::boolean),
            (std::vector<std::uint8_t>{0, 0, 1, 1}));
  EXPECT_EQ(
      cast<std::uint8_t>(Dtype::complex64, std::vector<float>{0, 0, 0, 1, 1, 0}, Dtype::boolean),
      (std::vector<std::uint8_t>{0, 1, 1}));
}

TEST(Cast, ComplexToRealDropsTheImaginaryPart) {
  EXPECT_EQ(
      cast<std::int32_t>(Dtype::complex64, std::vector<float>{1.5F, 9.F, -2.F, 9.F}, Dtype::int32),
      (std::vector<std::int32_t>{1, -2}));
  EXPECT_EQ(cast<double>(Dtype::int32, std::vector<std::int32_t>{7}, Dtype::complex128),
            (std::vector<double>{7, 0}));
  EXPECT_EQ(cast<std::uint16_t>(Dtype::complex64, std::vector<float>{1, -2}, Dtype::complex32),
            (std::vector<std::uint16_t>{0x3c00, 0xc000}));
}

}  // namespace
}  // namespace transload
