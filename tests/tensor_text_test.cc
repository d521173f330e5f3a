// str(tensor) prints exactly what torch 2.13 prints.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "transload/tensor.h"
#include "types/scalar.h"

namespace transload {
namespace {

Tensor tensor(Dtype dtype, const std::vector<double>& values, Dims shape) {
  const Tensor made = empty(std::move(shape), dtype);
  cast_elements(Dtype::float64, reinterpret_cast<const std::byte*>(values.data()), dtype,
                made.data(), values.size());
  return made;
}

Tensor floats(const std::vector<double>& values) {
  return tensor(Dtype::float32, values, {static_cast<std::int64_t>(values.size())});
}

Tensor range(Dtype dtype, Dims shape) {
  std::vector<double> values(static_cast<std::size_t>(
      std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>())));
  std::iota(values.begin(), values.end(), 0);
  return tensor(dtype, values, std::move(shape));
}

TEST(TensorText, WholeNumbersEndWithAPoint) {
  EXPECT_EQ(str(floats({1, 2, 3})), "tensor([1., 2., 3.])");
  EXPECT_EQ(str(floats({0, 0})), "tensor([0., 0.])");
  EXPECT_EQ(str(floats({NAN, 1, -INFINITY})), "tensor([nan, 1., -inf])");
}

TEST(TensorText, OthersHaveFourDigits) {
  EXPECT_EQ(str(tensor(Dtype::float32, {3.5}, {})), "tensor(3.5000)");
  EXPECT_EQ(str(floats({0.5, -12.25})), "tensor([  0.5000, -12.2500])");
}

TEST(TensorText, NumbersFarApartAreScientific) {
  EXPECT_EQ(str(floats({1e-5, 1})), "tensor([1.0000e-05, 1.0000e+00])");
  EXPECT_EQ(str(tensor(Dtype::float32, {1, 2.5, -3, 1e-3}, {2, 2})),
            "tensor([[ 1.0000e+00,  2.5000e+00],\n"
            "        [-3.0000e+00,  1.0000e-03]])");
}

TEST(TensorText, LinesBreakBeforeColumn80) {
  EXPECT_EQ(str(range(Dtype::uint8, {40})),
            "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n"
            "        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,\n"
            "        36, 37, 38, 39], dtype=torch.uint8)");
}

TEST(TensorText, StridesAreFollowed) {
  const Tensor block = range(Dtype::float32, {2, 3, 5});
  EXPECT_EQ(str(Tensor(block.storage(), Dtype::float32, {2, 2, 5}, {15, 10, 1})),
            "tensor([[[ 0.,  1.,  2.,  3.,  4.],\n"
            "         [10., 11., 12., 13., 14.]],\n"
            "\n"
            "        [[15., 16., 17., 18., 19.],\n"
            "         [25., 26., 27., 28., 29.]]])");
}

TEST(TensorText, Beyond1000ElementsOnlyTheEdgesAreShown) {
  EXPECT_EQ(str(range(Dtype::int64, {1001})), "tensor([   0,    1,    2,  ...,  998,  999, 1000])");
  EXPECT_EQ(str(range(Dtype::int64, {40, 50})),
            "tensor([[   0,    1,    2,  ...,   47,   48,   49],\n"
            "        [  50,   51,   52,  ...,   97,   98,   99],\n"
            "        [ 100,  101,  102,  ...,  147,  148,  149],\n"
            "        ...,\n"
            "        [1850, 1851, 1852,  ..., 1897, 1898, 1899],\n"
            "        [1900, 1901, 1902,  ..., 1947, 1948, 1949],\n"
            "        [1950, 1951, 1952,  ..., 1997, 1998, 1999]])");
}

TEST(TensorText, BooleansAndComplexNumbers) {
  EXPECT_EQ(str(tensor(Dtype::boolean, {1, 0}, {2})), "tensor([ True, False])");
  Tensor complex = empty({2}, Dtype::complex64);
  const float parts[] = {1, 2, -0.F, -0.5F};
  std::copy(std::begin(parts), std::end(parts), reinterpret_cast<float*>(complex.data()));
  EXPECT_EQ(str(complex), "tensor([1.+2.0000j, -0.-0.5000j])");
  complex.conj = true;
  EXPECT_EQ(str(complex), "tensor([1.-2.0000j, -0.+0.5000j])");
}

TEST(TensorText, SaysWhatIsNotTheDefault) {
  EXPECT_EQ(str(tensor(Dtype::float64, {1, 1, 1}, {3})),
            "tensor([1., 1., 1.], dtype=torch.float64)");
  EXPECT_EQ(str(tensor(Dtype::float8_e4m3fn, {0.1, 0.2}, {2})),
            "tensor([0.1016, 0.2031], dtype=torch.float8_e4m3fn)");
  Tensor parameter = tensor(Dtype::float32, {1, 1, 1, 1}, {2, 2});
  parameter.requires_grad = parameter.is_parameter = true;
  EXPECT_EQ(str(parameter),
            "Parameter containing:\n"
            "tensor([[1., 1.],\n"
            "        [1., 1.]], requires_grad=True)");
}

TEST(TensorText, WithoutValuesTheShapeIsShown) {
  EXPECT_EQ(str(empty({0, 3}, Dtype::float32)), "tensor([], size=(0, 3))");
  EXPECT_EQ(str(empty({0}, Dtype::int64)), "tensor([], dtype=torch.int64)");
  EXPECT_EQ(str(empty({2, 3}, Dtype::float32, kMeta)), "tensor(..., device='meta', size=(2, 3))");
  EXPECT_EQ(str(empty({2}, Dtype::int64, kMeta)),
            "tensor(..., device='meta', size=(2,), dtype=torch.int64)");
}

}  // namespace
}  // namespace transload
