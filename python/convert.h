// A state dict as Python objects, and Python objects as a state dict. Tensors are made and
// described by `arrays`, a Python module: transload._torch or transload._numpy. Call with the GIL
// held.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <functional>
#include <string>
#include <vector>

#include "transload/transload.h"

namespace transload::python {

namespace nb = nanobind;

// Keeps a Python object as the owner of a Storage: its identity is the object's address. The last
// copy may go on any thread.
std::shared_ptr<void> kept(nb::object object);

// The object that stands for a storage, by its number.
using StorageObject = std::function<nb::object(std::uint32_t)>;

// Every value below the root, in the types that PyTorch's own loading gives. What is shared or
// contains itself is so again.
nb::object to_python(const StateDict& state, nb::handle arrays, const StorageObject& storage_of);

// A tensor of the array library's: (storage key, address, bytes of the storage, device, dtype,
// shape, stride, storage offset, requires_grad, is a parameter, conj, neg), as arrays.describe()
// gives it.
Tensor to_tensor(nb::handle description);

// Python objects as a state dict. Objects that are pickled make tensors and storages of their own,
// which nothing else keeps: `kept` has all whose memory `state` borrows. Free with the GIL held.
struct Collected {
  std::vector<nb::object> kept;
  StateDict state;
};

// Throws UnsupportedError, with the keys that lead there, for objects that are not data. Objects of
// other classes become inert ones.
Collected from_python(nb::handle object, nb::handle arrays);

}  // namespace transload::python
