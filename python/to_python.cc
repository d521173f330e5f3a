// A state dict to Python objects. A stack of frames instead of recursion: how deep values are
// nested is bounded only by memory.
#include <algorithm>
#include <array>

#include "convert.h"

namespace transload::python {
namespace {

nb::object steal(PyObject* made) {
  if (!made) throw nb::python_error();
  return nb::steal(made);
}

nb::object text_object(std::string_view text) {
  // Lone surrogates are what pickle writes for them.
  return steal(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogatepass"));
}

nb::object dims_object(const Dims& sizes) {
  nb::object tuple = steal(PyTuple_New(static_cast<Py_ssize_t>(sizes.size())));
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i),
                     steal(PyLong_FromLongLong(sizes[i])).release().ptr());
  }
  return tuple;
}

// Hashing a tuple looks at all of its parts, which takes exponential time for some hostile files.
void require_hashable(const Value& value) {
  if (!value.is_hashable())
    throw UnsupportedError("a set with a " + std::string(name(value.kind())) +
                           " in it, or with a tuple of more than 64 parts");
}

class Builder {
 public:
  Builder(const StateDict& state, nb::handle arrays, const StorageObject& storage_of)
      : state_(state),
        storage_of_(storage_of),
        make_tensor_(arrays.attr("tensor")),
        arrays_(nb::borrow<nb::object>(arrays)),
        storages_(state.storages().size()) {}

  nb::object run() {
    const Value root = state_.root();
    enter(root);
    while (!frames_.empty()) {
      Frame& frame = frames_.back();
      if (frame.next == frame.count) {
        const Value value = frame.value;
        frames_.pop_back();
        leave(value);
        continue;
      }
      const std::optional<Value> part = part_of(frame.value, frame.next++, frame.count);
      if (part && !made(*part)) enter(*part);
    }
    return made(root);
  }

 private:
  // A value whose parts are being made. Its attributes are the last part.
  struct Frame {
    Value value;
    std::size_t next, count;
  };

  // By Value::id().
  nb::object& made(const Value& value) {
    if (value.id() >= made_.size())
      made_.resize(std::max<std::size_t>(value.id() + 1, 2 * made_.size()));
    return made_[value.id()];
  }

  static std::size_t count_parts(const Value& value) {
    if (value.is(ValueKind::tensor)) return 1;
    if (value.is(ValueKind::object)) return 5;
    return (value.is_dict() ? 2 * value.size() : value.size()) + 1;
  }

  // The i-th of the values that have to be there before this one is complete.
  static std::optional<Value> part_of(const Value& value, std::size_t i, std::size_t count) {
    if (value.is(ValueKind::object)) {
      const ObjectParts parts = value.object();
      // A name that is called is not a value by itself.
      const bool is_name = parts.callable.is(ValueKind::global);
      const std::optional<Value> all[] = {is_name ? std::nullopt : std::optional(parts.callable),
                                          parts.arguments, parts.list_items, parts.dict_items,
                                          parts.state};
      return all[i];
    }
    if (i + 1 == count) return value.attributes();
    if (!value.is_dict()) return value.item(i);
    const auto [key, of_key] = value.entry(i / 2);
    return i % 2 == 0 ? key : of_key;
  }

  // Containers that can be changed exist from here on, so that their parts may refer to them.
  void enter(const Value& value) {
    switch (value.kind()) {
      case ValueKind::list:
        made(value) = steal(PyList_New(0));
        break;
      case ValueKind::set:
        made(value) = steal(PySet_New(nullptr));
        break;
      case ValueKind::dict:
        made(value) = steal(PyDict_New());
        break;
      case ValueKind::ordered_dict:
        made(value) = ordered_dict_();
        break;
      case ValueKind::tuple:
      case ValueKind::size:
      case ValueKind::frozenset:
      case ValueKind::object:
        break;
      case ValueKind::tensor:
        made(value) = tensor(value);
        if (!value.attributes()) return;
        break;
      default:
        made(value) = leaf(value);
        return;
    }
    frames_.push_back({value, 0, count_parts(value)});
  }

  nb::handle at(const Value& value) {
    const nb::object& object = made(value);
    if (!object) throw UnsupportedError("a tuple or object that contains itself");
    return object;
  }

  void leave(const Value& value) {
    switch (value.kind()) {
      case ValueKind::list:
        for (std::size_t i = 0; i < value.size(); ++i) {
          if (PyList_Append(made(value).ptr(), at(value.item(i)).ptr()) != 0)
            throw nb::python_error();
        }
        break;
      case ValueKind::set:
        for (std::size_t i = 0; i < value.size(); ++i) {
          require_hashable(value.item(i));
          if (PySet_Add(made(value).ptr(), at(value.item(i)).ptr()) != 0) throw nb::python_error();
        }
        break;
      case ValueKind::dict:
      case ValueKind::ordered_dict:
        for (std::size_t i = 0; i < value.size(); ++i) set_entry(value, i);
        break;
      case ValueKind::tuple:
        made(value) = tuple(value);
        break;
      case ValueKind::size:
        made(value) = arrays_.attr("size")(tuple(value));
        break;
      case ValueKind::frozenset:
        for (std::size_t i = 0; i < value.size(); ++i) require_hashable(value.item(i));
        made(value) = steal(PyFrozenSet_New(tuple(value).ptr()));
        break;
      case ValueKind::object:
        made(value) = object(value.object());
        return;  // its state is a part of it
      default:
        break;
    }
    if (const auto attributes = value.attributes())
      made(value).attr("__dict__").attr("update")(at(*attributes));
  }

  void set_entry(const Value& dict, std::size_t i) {
    const auto [key, of_key] = dict.entry(i);
    const nb::handle to = made(dict);
    if (PyObject_SetItem(to.ptr(), at(key).ptr(), at(of_key).ptr()) == 0) return;
    if (key.is(ValueKind::tensor) && PyErr_ExceptionMatches(PyExc_TypeError)) {
      PyErr_Clear();
      throw UnsupportedError(
          "a dict whose keys are tensors, which NumPy's arrays cannot be; PyTorch's can");
    }
    throw nb::python_error();
  }

  nb::object tuple(const Value& value) {
    nb::object items = steal(PyTuple_New(static_cast<Py_ssize_t>(value.size())));
    for (std::size_t i = 0; i < value.size(); ++i) {
      PyTuple_SET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i), at(value.item(i)).inc_ref().ptr());
    }
    return items;
  }

  nb::object object(const ObjectParts& parts) {
    const auto part = [&](const std::optional<Value>& value) -> nb::object {
      return value ? nb::borrow<nb::object>(at(*value)) : nb::object(nb::none());
    };
    return arrays_.attr("object")(callable(parts.callable), part(parts.arguments),
                                  part(parts.list_items), part(parts.dict_items), part(parts.state),
                                  static_cast<int>(parts.made), parts.state.has_value());
  }

  nb::object callable(const Value& value) {
    if (!value.is(ValueKind::global)) return nb::borrow<nb::object>(at(value));
    const GlobalName global = value.global();
    return arrays_.attr("Name")(text_object(global.module), text_object(global.name));
  }

  nb::object leaf(const Value& value) {
    const auto bytes = [&] {
      return std::pair(reinterpret_cast<const char*>(value.bytes().data()), value.bytes().size());
    };
    switch (value.kind()) {
      case ValueKind::none:
        return nb::none();
      case ValueKind::boolean:
        return nb::bool_(value.boolean());
      case ValueKind::integer:
        return steal(PyLong_FromLongLong(value.integer()));
      case ValueKind::big_integer: {
        const auto [data, nbytes] = bytes();
        return nb::module_::import_("builtins")
            .attr("int")
            .attr("from_bytes")(nb::bytes(data, nbytes), "little", nb::arg("signed") = true);
      }
      case ValueKind::real:
        return steal(PyFloat_FromDouble(value.real()));
      case ValueKind::complex:
        return steal(PyComplex_FromDoubles(value.complex().real(), value.complex().imag()));
      case ValueKind::text:
        return text_object(value.text());
      case ValueKind::bytes: {
        const auto [data, nbytes] = bytes();
        return nb::bytes(data, nbytes);
      }
      case ValueKind::bytearray: {
        const auto [data, nbytes] = bytes();
        return steal(PyByteArray_FromStringAndSize(data, static_cast<Py_ssize_t>(nbytes)));
      }
      case ValueKind::device:
        return arrays_.attr("device")(text_object(value.text()));
      case ValueKind::dtype:
        return dtype(value.dtype());
      case ValueKind::global: {
        const GlobalName global = value.global();
        return arrays_.attr("name")(text_object(global.module), text_object(global.name));
      }
      case ValueKind::storage:
        return arrays_.attr("typed_storage")(storage(value.storage_number()), dtype(value.dtype()));
      default:
        throw Error("a value of kind " + std::string(name(value.kind())));
    }
  }

  nb::object tensor(const Value& value) {
    const Tensor t = value.tensor();
    const std::uint32_t number = value.storage_number();
    return make_tensor_(number == Value::kNoStorage ? nb::object(nb::none()) : storage(number),
                        dtype(t.dtype()), dims_object(t.shape()), dims_object(t.stride()),
                        t.storage_offset(), t.requires_grad, t.is_parameter, t.conj, t.neg);
  }

  nb::object storage(std::uint32_t number) {
    if (!storages_[number]) storages_[number] = storage_of_(number);
    return storages_[number];
  }

  nb::object dtype(Dtype dtype) {
    nb::object& known = dtypes_[static_cast<std::size_t>(dtype)];
    if (!known) known = arrays_.attr("dtype")(nb::str(name(dtype).data(), name(dtype).size()));
    return known;
  }

  const StateDict& state_;
  const StorageObject& storage_of_;
  nb::object make_tensor_, arrays_;
  nb::object ordered_dict_ = nb::module_::import_("collections").attr("OrderedDict");
  std::vector<nb::object> made_, storages_;  // by number
  std::array<nb::object, kDtypeCount> dtypes_;
  std::vector<Frame> frames_;
};

}  // namespace

nb::object to_python(const StateDict& state, nb::handle arrays, const StorageObject& storage_of) {
  return Builder(state, arrays, storage_of).run();
}

}  // namespace transload::python
