// An open checkpoint as the package sees it: values by number, lazy tensors, plans, loads and
// fills.
#pragma once

#include <nanobind/nanobind.h>

namespace transload::python {

void define_index(nanobind::module_& module);

}  // namespace transload::python
