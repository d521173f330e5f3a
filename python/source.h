// Python objects as sources of bytes: buffers, and objects with seek() and read() or readinto().
#pragma once

#include <nanobind/nanobind.h>

namespace transload::python {

void define_files(nanobind::module_& module);

}  // namespace transload::python
