// What plans and the engine both have to know of the bytes that an Index describes.
#pragma once

#include <cstdint>
#include <string>

#include "transload/plan.h"

namespace transload {

// Bytes of a file as they are stored: a piece of a storage, or a metadata member.
struct Stored {
  Extent extent;
  std::uint64_t nbytes;  // decoded
  Encoding encoding;
  std::optional<std::uint32_t> crc32;
  std::uint64_t skipped_nbytes = 0;  // decoded bytes of the extent before the first
};

// By Transfer::reads: a number of Index::pieces, and behind those of Index::metadata_members.
Stored stored(const Index& index, std::uint32_t number);
std::string name_of_stored(const Index& index, std::uint32_t number);  // for errors

// Whether the bytes in the file are those that arrive.
bool is_straight(const Transfer& transfer, const Index& index);

// Throws FormatError unless the pieces of a storage, all together, are as long as the storage, and each stays inside it
// and inside its own bytes.
void require_whole(const Index& index, std::uint32_t storage, std::span<const Piece> pieces);

// The length of a slot, for a budget of staging memory.
std::uint64_t slot_nbytes(std::uint64_t staging_nbytes);

}  // namespace transload
