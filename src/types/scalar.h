// Reads element values and casts elements between dtypes, in host memory. can_cast() in dtype.h
// says which casts exist. The engine's steps (transfer/) and str(tensor) use it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "transload/dtype.h"

namespace transload {

// Returns the value of an element, or its real part if it is complex. `element` need not be
// aligned. The dtype must be castable to float64.
double element_as_double(Dtype dtype, const std::byte* element);

// Returns the integer dtype of 1, 2, 4 or 8 bytes. Byte order is swapped in units of this dtype.
Dtype unit_dtype(std::uint8_t nbytes);

// Casts `count` contiguous elements as torch's copy_ does on a CPU. Floats round to nearest even,
// 16-bit and 8-bit ones through float32. A float becomes an integer by dropping the fraction;
// integers wrap; every nonzero value becomes true; a complex number becomes real by dropping the
// imaginary part. Floats out of an integer's range, which torch leaves to the processor, convert as
// on x86. `source` and `target` must not overlap and need not be aligned. can_cast(from, to) must
// hold.
void cast_elements(Dtype from, const std::byte* source, Dtype to, std::byte* target,
                   std::size_t count);

}  // namespace transload
