#pragma once

#include <memory>

#include "device/backend.h"

namespace transload {

// Shapes without bytes: nothing is allocated, nothing can be copied.
std::unique_ptr<Backend> make_meta_backend();

}  // namespace transload
