// The parts of the safetensors format that reading and saving share.
#pragma once

#include <cstdint>

#include "format/format.h"
#include "format/safetensors_header.h"

namespace transload::safetensors {

inline constexpr std::uint64_t kMaxHeaderNbytes = 100'000'000;  // tensor.rs, MAX_HEADER_SIZE
// Our metadata key for tied tensors: a JSON object {"alias": "the name that the tensor is saved under"}.
inline constexpr const char* kTied = "transload.tied";

Layout lay_out(const StateDict& state, const LayoutOptions& options);

}  // namespace transload::safetensors
