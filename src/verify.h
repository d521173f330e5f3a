// Comparing what was read with the checksums that its file has. Used by every story that reads.
#pragma once

#include <cstdint>
#include <vector>

#include "transfer/engine.h"
#include "transload/options.h"

namespace transload {

// Reads these pieces and metadata members, by Transfer::reads, and compares them. Throws FormatError with those that
// differ.
void verify_pieces(const Index& index, const std::vector<std::uint32_t>& which,
                   const IoOptions& io);

// Compares all that is not a tensor's: the pickle of the values above all.
void verify_metadata(const Index& index, const IoOptions& io);

// After a load: compares the checksums that it has computed, and reads what it did not read, as mapped files.
void verify_loaded(const Index& index, const Plan& plan, const Outcome& outcome,
                   const IoOptions& io);

}  // namespace transload
