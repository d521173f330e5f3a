// Host memory as a device. Its copies are memcpy and are done when the call returns.
#pragma once

#include <memory>

#include "device/backend.h"

namespace transload {

// Allocations of 2 MiB and more ask for transparent huge pages, because the page faults of fresh
// memory cost more than the copy into it.
std::unique_ptr<Backend> make_cpu_backend();

}  // namespace transload
