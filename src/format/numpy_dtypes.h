// What NumPy calls the dtypes of tensors: in the headers of .npy files, and in pickles.
#pragma once

#include <optional>
#include <string_view>

#include "transload/dtype.h"

namespace transload {

// Of a kind and a size, without the byte order: "f4". Nothing if there is no dtype of tensors for it.
std::optional<Dtype> dtype_from_numpy(std::string_view type);

}  // namespace transload
