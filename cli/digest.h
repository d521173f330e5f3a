// SHA-256 of tensors' elements, as a fingerprint that does not depend on the format they are saved in.
#pragma once

#include <string>
#include <vector>

#include "transload/index.h"

namespace transload::cli {

// For each of index.contents.tensors(), the hexadecimal SHA-256 of its elements in row-major order, little-endian, as
// stored (conj and neg bits not applied); of dtypes that are packed below a byte, of the whole storage. Empty for a
// tensor that has no bytes in the file, and for one that shows the same few bytes so often that it would never end.
// Loads at most 1 GB at a time, or one storage.
std::vector<std::string> digests(const Index& index);

}  // namespace transload::cli
