#include "scan/pickle_dtypes.h"

namespace transload {
namespace {

using Kind = Known::Kind;

// The number of bytes that S, U and V dtypes state a second time.
bool has_size(const DtypeCode& code, const Known& item) {
  return !code.has_own_size() || code.nbytes == 0 || item.kind != Known::Kind::integer ||
         item.text == code.nbytes;
}

// (dtype, shape): of a field that is an array.
bool is_array_of_numbers(const Texts& texts, const Known& subdtype) {
  const auto items = texts.items(subdtype);
  return items.size() == 2 && is_dtype(items[0]) &&
         DtypeCode(texts.code_of_dtype(items[0])).is_simple();
}

// numpy.record is a structure; its size comes with its state.
Known code_of(Texts& texts, const Known& argument) {
  if (argument.kind != Kind::global) return argument;
  const std::string& name = texts[argument];
  return name == "numpy\nrecord" || name == "numpy.rec\nrecord" ? texts.text("V0") : Known{};
}

}  // namespace

DictContents contents_of_fields(const Texts& texts, std::span<const Known> items) {
  for (const Known& item : items) {
    if (item.kind == Kind::text) continue;
    const auto field = texts.items(item);
    if (field.empty() || !is_dtype(field[0])) return DictContents::unknown;
    const DtypeCode code(texts.code_of_dtype(field[0]));
    if (!code.is_simple() && code.letter != 'V') return DictContents::with_objects;
  }
  return DictContents::without_objects;
}

Known PickleDtypes::make(const Known& callable, const Known& arguments) {
  const auto items = texts_.items(arguments);
  return texts_.dtype(callable, items.empty() ? Known{} : code_of(texts_, items[0]));
}

bool PickleDtypes::is_without_pointers(const Known& dtype) const {
  const DtypeCode code(texts_.code_of_dtype(dtype));
  return code.is_simple() || (code.letter == 'V' && !has_object_fields_);
}

// dtype.__setstate__ believes what it is given: with other flags the elements of an array are pointers.
// (version, order, subdtype, names, fields, size, alignment, flags, …)
void PickleDtypes::judge_state(const Known& dtype, const Known& state) {
  const auto items = texts_.items(state);
  const DtypeCode code(texts_.code_of_dtype(dtype));
  const bool has_flags = items.size() == kMaxTupleItems && items[7].kind == Kind::integer;
  const std::uint32_t flags = has_flags ? items[7].text : 0;
  constexpr std::uint32_t kObjectFlags = 7, kAllFlags = 63;  // NPY_OBJECT_DTYPE_FLAGS
  bool is_right = has_flags && code.letter != '\0' && has_size(code, items[5]);
  if (code.is_of_objects()) {
    is_right = is_right && flags == kAllFlags;
  } else if (is_right && (flags & kObjectFlags) != 0) {
    is_right = code.letter == 'V' && (flags & 3) == 3;
    has_object_fields_ = true;
  } else if (is_right) {
    const bool has_fields = items[4].kind != Kind::none;
    const auto contents = static_cast<DictContents>(items[4].more);
    is_right = items[2].kind != Kind::tuple || is_array_of_numbers(texts_, items[2]);
    if (has_fields)
      is_right = is_right && items[4].kind == Kind::dict &&
                 contents == DictContents::without_objects && !has_object_fields_;
  }
  if (!is_right)
    uses_.add(PickleUse::How::set_state,
              shown(texts_[dtype]) + " with a state that may hold pointers", Verdict::runs_code);
}

}  // namespace transload
