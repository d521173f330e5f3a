// The CRC-32 of zip files (polynomial 0xEDB88320): of bytes, at memory speed, and of two parts joined.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace transload {

std::uint32_t crc32_of(std::span<const std::byte> bytes);
// Returns the CRC-32 of A followed by B: `first` is that of A, `second` that of B, which has second_nbytes bytes.
std::uint32_t crc32_joined(std::uint32_t first, std::uint32_t second, std::uint64_t second_nbytes);

}  // namespace transload
