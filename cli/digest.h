// SHA-256 digests of tensors that do not depend on the file format. inspect prints them, verify
// compares them.
#pragma once

#include <string>
#include <vector>

#include "transload/index.h"

namespace transload::cli {

// Returns for each of index.contents.tensors() the hexadecimal SHA-256 of its elements in row-major
// order, little-endian, as stored (conj and neg bits not applied). For dtypes smaller than a byte,
// the digest covers the whole storage. Empty for a tensor without bytes in the file, and for one
// that repeats the bytes of its storage too often. Reads all tensors, at most 1 GB or one storage
// at a time. Throws what load() throws.
std::vector<std::string> digests(const Index& index);

}  // namespace transload::cli
