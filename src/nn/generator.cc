// Random numbers. The distributions of the standard library differ from one to the next, so they are written out here;
// its engines do not.
#include <cmath>
#include <numbers>

#include "transload/nn.h"

namespace transload::nn {
namespace {

template <class Next>
Tensor filled(Dims shape, Next next) {
  const Tensor made = empty(std::move(shape), Dtype::float32);
  auto* const values = reinterpret_cast<float*>(made.data());
  for (std::int64_t i = 0; i < made.numel(); ++i) values[i] = static_cast<float>(next());
  return made;
}

}  // namespace

// The upper 53 bits: each multiple of 2^-53 below 1 is as likely.
double Generator::uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }

// Box and Muller's.
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
