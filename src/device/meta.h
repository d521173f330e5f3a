// The meta device: shapes without bytes, as in torch.
#pragma once

#include <memory>

#include "device/backend.h"

namespace transload {

// Its storages have a size but no memory. Staging and copies throw Error.
std::unique_ptr<Backend> make_meta_backend();

}  // namespace transload
