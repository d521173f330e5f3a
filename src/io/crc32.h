// The CRC-32 of zip files, at memory speed, and of parts put together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace transload {

std::uint32_t crc32_of(std::span<const std::byte> bytes);
// Of a text whose beginning has `first` and whose last second_nbytes have `second`.
std::uint32_t crc32_joined(std::uint32_t first, std::uint32_t second, std::uint64_t second_nbytes);

}  // namespace transload
