// Comparing bytes with the checksums that a file has for them.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "transload/transload.h"

namespace transload {

// Pieces, each with the CRC-32 that was found. Throws FormatError with the storages that differ from what the file says.
void require_checksums(const Index& index,
                       std::span<const std::pair<std::uint32_t, std::uint32_t>> found);

// Compares the metadata members with their checksums: those that were not read yet are read. Throws FormatError that names
// the first that differs.
void verify_metadata(const Index& index);

// Reads these pieces: the CRC-32 of each.
std::vector<std::uint32_t> crcs_of(const Index& index, std::span<const std::uint32_t> pieces,
                                   const IoOptions& io);

// Reads these pieces and compares. Pieces without a checksum are not read.
void verify_pieces(const Index& index, std::span<const std::uint32_t> pieces, const IoOptions& io);

}  // namespace transload
