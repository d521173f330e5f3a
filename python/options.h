// The options of the library as Python classes: every field is a keyword argument of the
// constructor, so that a misspelt option is a TypeError.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "transload/transload.h"

namespace transload::python {

void define_options(nanobind::module_& module);

}  // namespace transload::python
