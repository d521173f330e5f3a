// PickleDtypes: the NumPy dtypes that a pickle makes. The elements of an array are numbers or pointers as its dtype says, and
// NumPy believes the state that a pickle gives a dtype: this judges those states, and the values that are made of a dtype.
// Facts: numpy/_core/src/multiarray/descriptor.c.
#pragma once

#include <span>

#include "scan/known_values.h"
#include "scan/pickle_uses.h"

namespace transload {

// Whether a value is the result of numpy.dtype().
inline bool is_dtype(const Known& value) {
  return value.kind == Known::Kind::result && value.more != 0;
}

// Of the fields of a dtype: {name: (dtype, offset)}.
DictContents contents_of_fields(const Texts& texts, std::span<const Known> items);

class PickleDtypes {
 public:
  // Both arguments must outlive it.
  PickleDtypes(Texts& texts, PickleUses& uses) : texts_(texts), uses_(uses) {}

  // Returns the dtype that a call of numpy.dtype, the global `callable`, makes.
  Known make(const Known& callable, const Known& arguments);
  // Returns whether no element of this dtype is or holds a pointer.
  bool is_without_pointers(const Known& dtype) const;
  // Judges the state that a pickle sets on a dtype. Remembers whether any dtype has fields of objects.
  void judge_state(const Known& dtype, const Known& state);

 private:
  Texts& texts_;
  PickleUses& uses_;
  bool has_object_fields_ = false;  // a dtype has fields of objects
};

}  // namespace transload
