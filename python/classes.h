// The classes and functions that a checkpoint's values name, for callers that have to agree with
// another unpickler before a tensor's bytes are read.
#pragma once

#include <nanobind/nanobind.h>

#include "convert.h"

namespace transload::python {

// Each name once, as (module, name, how): "value" if it stands by itself, "call" or "new" if it
// makes an object, "new with keywords", "items" and "entries" if things are appended to or set in
// the object. Values that Python's pickle spells as calls of builtins, and torch's restricted
// unpickler refuses, are named too: builtins.frozenset, empty builtins.bytes, and builtins.int of
// more than 255 bytes.
nb::list named_classes(const StateDict& state);

}  // namespace transload::python
