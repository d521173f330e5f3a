// The allow-list: what becomes of a process that imports and calls a name of a pickle. One table sorts the names into kinds,
// and one function judges a kind: from it come both the scanner's verdict and the reader's refusal, so they cannot differ.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "transload/scan.h"

namespace transload {

// From harmless to not, more or less.
enum class GlobalKind : std::uint8_t {
  plain_data,      // nothing runs but its own constructor; may be written to a pickle again
  made_by_reader,  // TorchObjects makes the value; the inert name is not written
  data_type,       // a dtype, a storage class, torch.FloatTensor
  from_arguments,  // makes an object of a class among its arguments, or of NumPy's: judged by those
  torchscript,     // kept when a file is opened, but part of a program
  needed_class,    // the process needs the class, or the tuple type, to load the file
  kept_as_value,  // an activation, an annotation, getattr: harmless as a value, not if it is called
  wraps_function,    // functools.partial: as harmless as the function that it is given
  unknown_function,  // of the user's package: whoever gets hold of it calls it
  code,              // runs code, and no checkpoint needs it
};

// What the reader does with a call of a name. The functions of torch are those of torch/_utils.py, unless said otherwise.
enum class Constructor : std::uint8_t {
  none,  // keeps the call as an inert object
  // Plain values that a pickle spells as calls
  ordered_dict,
  size,
  device,
  encode,  // _codecs.encode: bytes in protocol 2
  bytes,
  bytearray,
  set,
  frozenset,
  complex,
  // Tensors
  tensor_v0,
  tensor_v2,
  tensor_v3,
  parameter,
  parameter_with_state,
  meta_tensor,
  from_type,      // torch/_tensor.py, _rebuild_from_type_v2: calls its first argument
  from_type_old,  // _rebuild_from_type, PyTorch 1.7 to 1.11: calls its first argument, not read
  variable,       // before PyTorch 0.4
  tensor_class,   // torch.FloatTensor(): PyTorch 0.1.10, whose state is the tensor
  type_tag,       // TorchScript: returns its first argument
  // Inert objects that hold tensors
  quantized,
  sparse,
  nested,
  device_tensor,
  // Inert objects whose arguments are looked at
  layout,      // torch.serialization._get_layout
  attribute,   // getattr
  partial,     // functools.partial
  new_object,  // copyreg._reconstructor, __newobj__: of the class that is its first argument
};

// A row of the table. Each list has the words that blanks separate.
struct GlobalRow {
  std::string_view modules;  // "*": any module; "torch.*": torch and all below it
  std::string_view names;    // with such a module, the part of a name behind its last dot
  GlobalKind kind;
  Constructor constructor = Constructor::none;
};
std::span<const GlobalRow> global_rows();

GlobalKind kind_of_global(std::string_view module, std::string_view name);
Constructor constructor_of(std::string_view module, std::string_view name);

struct Judgement {
  Verdict verdict;  // of the scanner
  bool is_refused;  // by a reader that opens the file without keep_calls
};
Judgement judge_global(std::string_view module, std::string_view name, PickleUse::How how);
// Of a function that functools.partial is given: whoever gets the partial calls it.
Judgement judge_wrapped(std::string_view module, std::string_view name);
// Of getattr(class, attribute), `name` is "Class.attribute": how some versions of Python pickle the members of enums.
Judgement judge_attribute(std::string_view module, std::string_view name);
// Of getattr(object, attribute), where the object is of a class of `module`: whether it gives a method that a layer holds of
// its own, as those do whose shapes are not known yet (torch/nn/modules/lazy.py).
bool is_method_of_layer(std::string_view module, std::string_view attribute);

// Whether a name is that of plain data, which may be written to a pickle.
inline bool is_plain_data(std::string_view module, std::string_view name) {
  return kind_of_global(module, name) == GlobalKind::plain_data;
}
// Whether a call of it calls its first argument too.
inline bool calls_its_first_argument(Constructor constructor) {
  return constructor == Constructor::from_type || constructor == Constructor::from_type_old;
}

// Whether PyTorch or NumPy defines a class of this name in this module that checkpoints and whole models hold.
bool is_class_of_models(std::string_view module, std::string_view name);

// Whether a module is of a package of Python's own, or comes with PyTorch and is not part of models.
bool is_python_module(std::string_view module);

}  // namespace transload
