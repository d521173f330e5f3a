#pragma once

#include <memory>

#include "device/backend.h"

namespace transload {

// Host memory. Blocks of 2 MiB and more lie on huge pages where the system has them: the first touch of fresh
// memory costs more than the copy into it.
std::unique_ptr<Backend> make_cpu_backend();

}  // namespace transload
