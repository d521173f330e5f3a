// The exception tree of error.h, as Python's.
#pragma once

#include <nanobind/nanobind.h>

namespace transload::python {

void define_errors(nanobind::module_& module);

}  // namespace transload::python
