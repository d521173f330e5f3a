// Random numbers. The C++ standard fixes the numbers of its engines but not those of its
// distributions, so the distributions are written out here.
#include <cmath>
#include <numbers>

#include "transload/nn.h"

namespace transload::nn {
namespace {

// Returns a float32 tensor on the CPU whose elements are successive results of next().
template <class Next>
Tensor filled(Dims shape, Next next) {
  const Tensor made = empty(std::move(shape), Dtype::float32);
  auto* const values = reinterpret_cast<float*>(made.data());
  for (std::int64_t i = 0; i < made.numel(); ++i) values[i] = static_cast<float>(next());
  return made;
}

}  // namespace

// Takes the upper 53 bits: every multiple of 2^-53 in [0, 1) is equally likely.
double Generator::uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }

// The Box-Muller transform. 1 - uniform() is in (0, 1], so the logarithm is finite.
double Generator::normal() {
  if (second_) return *std::exchange(second_, std::nullopt);
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));
  const double angle = 2 * std::numbers::pi * uniform();
  second_ = radius * std::sin(angle);
  return radius * std::cos(angle);
}

Tensor Generator::randn(Dims shape) {
  return filled(std::move(shape), [&] { return normal(); });
}

Tensor Generator::rand(Dims shape, float low, float high) {
  return filled(std::move(shape), [&] { return low + (high - low) * uniform(); });
}

}  // namespace transload::nn
