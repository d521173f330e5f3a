// The emulated driver's control functions, out of the library that the process has loaded as its CUDA driver.
#pragma once

#include <dlfcn.h>

#include <stdexcept>

#include "fake_cuda/fake_cuda.h"
#include "transload/device.h"

namespace transload {

struct Emulated {
  Emulated() {
    static const bool chosen = [] {
      use_cuda_driver(TRANSLOAD_FAKE_CUDA);
      return true;
    }();
    (void)chosen;
    library = dlopen(TRANSLOAD_FAKE_CUDA, RTLD_NOW);
    if (!library) throw std::runtime_error(dlerror());
  }

  FakeCudaCounters counters(int device) const {
    FakeCudaCounters c{};
    find<decltype(fake_cuda_counters)>("fake_cuda_counters")(device, &c);
    return c;
  }

  template <class Function>
  Function* find(const char* name) const {
    auto* const found = reinterpret_cast<Function*>(dlsym(library, name));
    if (!found) throw std::runtime_error(name);
    return found;
  }

  void* library;
};
// For what needs a GPU and does not mind which: the machine's own, else an emulated one.
inline void have_a_gpu() {
  if (devices().back().kind != DeviceKind::cuda) use_cuda_driver(TRANSLOAD_FAKE_CUDA);
}

}  // namespace transload
