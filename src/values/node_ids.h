// The number of a value in a NodeTable.
#pragma once

#include <cstdint>

namespace transload {

using NodeId = std::uint32_t;
inline constexpr NodeId kNoNode = 0xFFFFFFFF;

}  // namespace transload
