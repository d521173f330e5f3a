// A state dict for tests: small storages and large ones, a tied pair, a view, an empty tensor.
#pragma once

#include "transload/transload.h"

namespace transload {

inline Tensor counted(Dims shape, float from) {
  const Tensor t = empty(shape, Dtype::float32);
  auto* values = reinterpret_cast<float*>(t.data());
  for (std::int64_t i = 0; i < t.numel(); ++i) values[i] = from + static_cast<float>(i);
  return t;
}

inline StateDict mixed_model() {
  StateDict state;
  state.set("encoder.weight", counted({1000, 700}, 1));
  state.set("encoder.bias", counted({700}, 2));
  const Tensor tied = counted({300, 300}, 3);
  state.set("embed.weight", tied);
  state.set("head.weight", tied);
  state.set("head.bias", counted({3}, 4));
  state.set("empty", counted({0}, 5));
  const Tensor wide = counted({2'500'000}, 6);  // several staging slots long
  state.set("wide", wide);
  state.set("part", Tensor(wide.storage(), Dtype::float32, {10}, {2}, 77));
  return state;
}

}  // namespace transload
