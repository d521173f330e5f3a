// Writes a StateDict as the pickle of a torch zip file: protocol 2, and the names that PyTorch's weights_only knows.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "transload/state_dict.h"

namespace transload {

// How one storage goes into a file.
struct StorageRecord {
  std::string key;          // "0"; empty: nothing mentions it, or it is on meta
  std::string location;     // "cuda:0"
  std::uint64_t begin = 0;  // bytes left out before; its tensors' offsets count from here
  std::uint64_t nbytes = 0;
  Dtype dtype = Dtype::uint8;  // of its storage class
};

// `records` by storage number. Throws UnsafePickleError for an object of a class that is not plain data, unless allowed.
std::string write_pickle(const StateDict& state, std::span<const StorageRecord> records,
                         bool allow_objects);

}  // namespace transload
