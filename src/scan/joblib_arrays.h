// The arrays of joblib: the elements of each lie in the file between two opcodes of the pickle, behind the state of a
// NumpyArrayWrapper. These functions find that state among the dicts of a pickle, and where the elements end.
// Facts: joblib/numpy_pickle.py, NumpyArrayWrapper.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "scan/known_values.h"

namespace transload {

// Whether the items of a dict, keys and values one after the other, may be the state of a NumpyArrayWrapper.
bool is_array_state(const Texts& texts, std::span<const Known> items);

// Reads the shape, the dtype and the padding of an array. A shape of more than `most_elements` is not understood.
ArrayState read_array_state(const Texts& texts, std::span<const Known> items,
                            std::size_t most_elements);

// Returns the number of bytes from the start of `behind`, the bytes behind the opcodes, to the end of the elements. Throws
// Broken if the state does not tell.
std::uint64_t array_nbytes(const ArrayState& array, std::span<const std::byte> behind);

}  // namespace transload
