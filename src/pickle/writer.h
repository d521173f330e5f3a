// Writes a StateDict as the pickle of a torch zip file: protocol 2, with the names that torch.load(weights_only=True) allows.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "transload/state_dict.h"

namespace transload {

// How one storage goes into a file.
struct StorageRecord {
  std::string key;       // "0"; empty: no tensor mentions it, or it is on meta
  std::string location;  // "cuda:0"
  std::uint64_t begin =
      0;  // bytes of the storage that are left out before; the tensors' offsets count from here
  std::uint64_t nbytes = 0;
  Dtype dtype = Dtype::uint8;  // of its storage class
};

// Returns the pickle. `records` has one entry for each storage number. Throws UnsafePickleError for the name or an object of a
// class that is not plain data, unless allow_objects is set.
std::string write_pickle(const StateDict& state, std::span<const StorageRecord> records,
                         bool allow_objects);

}  // namespace transload
