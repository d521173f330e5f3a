// The plans that a caller of the library gets to see by way of a path or a state dict only. All are pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "plan/layout.h"
#include "plan/match.h"
#include "transload/options.h"

namespace transload {

// plan_load() of some storages only: by number, those that are `wanted`.
Plan plan_load_of(const Index& index, const LoadOptions& options,
                  const std::vector<MemoryUse>& memory, const std::vector<bool>& wanted);

// From a file into tensors that live. Throws UnsupportedError for a strided view of a storage that lies in several pieces.
Plan plan_fill(const Matches& matches, const Index& index, const IoOptions& io);

// From tensors into tensors that live, on any devices.
Plan plan_copy(const Matches& matches, const IoOptions& io);

// What is known of a place to write to, by which a plan decides how its files are written.
struct WriteFacts {
  bool has_direct = false;      // whether files there can be written past the page cache
  bool needs_checksums = true;  // whether the format asks for the CRC-32 of each piece
};

// Shorter stretches are written sooner through the page cache.
inline constexpr std::uint64_t kLeastDirect = 256 << 10;

// From storages into files. `storages`: by the layout's numbers.
Plan plan_save(std::span<const Storage> storages, const Layout& layout, const WriteFacts& facts,
               const IoOptions& io);

// From files into other files.
Plan plan_convert(const Index& index, const Layout& layout, const WriteFacts& facts,
                  const IoOptions& io);

// Reads these pieces and metadata members, by Transfer::reads, for their CRC-32.
Plan plan_verify(const Index& index, const std::vector<std::uint32_t>& which, const IoOptions& io);

// All that have a checksum and were not read, with it, when the Index was made.
std::vector<std::uint32_t> unchecked(const Index& index);

// Whether a load of a piece reads each of its bytes, and once.
bool is_read_once(const Piece& piece);

// A dtype for elements that are moved and not looked at; UnsupportedError for a size that no dtype has.
Dtype dtype_of_size(std::uint64_t itemsize);

// The name that errors use for what a transfer copies: "encoder.weight" (float32 [10, 10]). Empty if there is none.
std::string label_of(const Plan& plan, std::uint32_t label);

}  // namespace transload
