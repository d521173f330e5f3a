// The names of classes and functions that pickles mention, by what becomes of a process that imports and calls them.
#pragma once

#include <cstdint>
#include <string_view>

#include "transload/scan.h"

namespace transload {

// Whether a name is that of plain data, which may be written to a pickle again: no code is run for it but its own
// constructor.
bool is_plain_data(std::string_view module, std::string_view name);

// What a use of a name does in a process that unpickles the file. By an allow-list: what is not known to be harmless is a
// class that is needed or, where it cannot be one or is Python's own, code that would run.
Verdict verdict_of(std::string_view module, std::string_view name, PickleUse::How how);

// Python's getattr: what it gives, of a class, is judged as that name ("Color.RED"), which is how some versions of Python
// pickle the members of enums.
bool is_getattr(std::string_view module, std::string_view name);

// Whether a module is Python's own, or comes with PyTorch and is no part of models.
bool is_of_python(std::string_view module);

// Whether that use of a name of Python's own library, of PyTorch or of NumPy is one that no checkpoint needs, or loads
// what this library would not see: refused when a file is opened.
bool runs_code(std::string_view module, std::string_view name, PickleUse::How how);

}  // namespace transload
