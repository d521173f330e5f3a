// The values of elements, and their conversion from dtype to dtype, in host memory. Which pairs there are: can_cast().
#pragma once

#include <cstddef>
#include <cstdint>

#include "transload/dtype.h"

namespace transload {

// The value of the element at `element`, which need not be aligned; of a complex one its real part. The dtype must be
// one that can be cast.
double element_as_double(Dtype dtype, const std::byte* element);

// An integer of so many bytes: swapping them works on any element that is a whole number of such units.
Dtype unit_dtype(std::uint8_t nbytes);

// Converts `count` elements that stand side by side, as torch's copy_ does on a CPU: to a smaller float it rounds to
// nearest even (by way of float32, as torch), float to integer drops the fraction, integers wrap, anything but zero is
// true, complex to real drops the imaginary part. What torch leaves to the processor, floats beyond an integer's
// range, is as on x86. source and target must not overlap and need not be aligned; can_cast(from, to) must hold.
void cast_elements(Dtype from, const std::byte* source, Dtype to, std::byte* target,
                   std::size_t count);

}  // namespace transload
