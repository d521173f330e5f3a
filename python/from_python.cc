// Python objects to a state dict: each object becomes one value, so that what is shared stays
// shared.
#include <unordered_map>
#include <utility>

#include "convert.h"
#include "transload/state_dict_builder.h"

namespace transload::python {
namespace {

using Handle = StateDictBuilder::Handle;

constexpr int kMaxDepth =
    400;  // of Python objects in each other; Python's own pickle allows about as much

std::string text_of(nb::handle object) {
  Py_ssize_t size = 0;
  nb::object bytes = nb::steal(PyUnicode_AsEncodedString(object.ptr(), "utf-8", "surrogatepass"));
  char* data = nullptr;
  if (!bytes || PyBytes_AsStringAndSize(bytes.ptr(), &data, &size) != 0) throw nb::python_error();
  return {data, static_cast<std::size_t>(size)};
}

std::span<const std::byte> bytes_at(const char* data, Py_ssize_t size) {
  return std::as_bytes(std::span(data, static_cast<std::size_t>(size)));
}

std::string class_name(nb::handle object) {
  const nb::handle type = object.type();
  return text_of(type.attr("__module__")) + "." + text_of(type.attr("__qualname__"));
}

class Collector {
 public:
  explicit Collector(nb::handle arrays) : arrays_(nb::borrow<nb::object>(arrays)) {}

  Collected run(nb::handle root) {
    const Handle handle = add(root);
    return {std::move(kept_), builder_.build(handle)};
  }

 private:
  // Deeper by one, for as long as it lives; `key` leads there.
  struct Level {
    Level(Collector& of, nb::handle key) : path(of.path_) {
      if (path.size() >= kMaxDepth)
        throw UnsupportedError("values in each other " + std::to_string(kMaxDepth) +
                               " levels deep, or a tuple that contains itself");
      path.push_back(key);
    }
    ~Level() { path.pop_back(); }
    std::vector<nb::handle>& path;
  };

  std::string where() const {
    std::string text;
    for (const nb::handle key : path_) {
      if (!key) continue;
      text += (text.empty() ? "" : "/") + text_of(nb::str(key));
    }
    return text.empty() ? "what is to be saved" : '"' + text + '"';
  }

  Handle add(nb::handle o) {
    if (o.is_none()) return builder_.add(nullptr);
    if (PyBool_Check(o.ptr())) return builder_.add(o.ptr() == Py_True);
    if (PyLong_CheckExact(o.ptr())) return integer(o);
    if (PyFloat_CheckExact(o.ptr())) return builder_.add(PyFloat_AS_DOUBLE(o.ptr()));
    if (PyUnicode_CheckExact(o.ptr())) return builder_.add(text_of(o));
    const auto known = memo_.find(o.ptr());
    if (known != memo_.end()) return known->second;
    kept_.push_back(nb::borrow<nb::object>(o));
    const Handle node = add_new(o);
    memo_.emplace(o.ptr(), node);
    return node;
  }

  Handle integer(nb::handle o) {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(o.ptr(), &overflow);
    if (overflow == 0) return builder_.add(std::int64_t{value});
    const auto bits = nb::cast<std::size_t>(o.attr("bit_length")());
    const nb::object bytes = o.attr("to_bytes")(bits / 8 + 1, "little", nb::arg("signed") = true);
    return builder_.big_integer(
        {reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(bytes.ptr())), bits / 8 + 1});
  }

  Handle add_new(nb::handle o) {
    if (PyBytes_CheckExact(o.ptr()))
      return builder_.bytes(bytes_at(PyBytes_AS_STRING(o.ptr()), PyBytes_GET_SIZE(o.ptr())));
    if (PyByteArray_CheckExact(o.ptr()))
      return builder_.bytearray(
          bytes_at(PyByteArray_AS_STRING(o.ptr()), PyByteArray_GET_SIZE(o.ptr())));
    if (PyComplex_CheckExact(o.ptr()))
      return builder_.complex({PyComplex_RealAsDouble(o.ptr()), PyComplex_ImagAsDouble(o.ptr())});
    if (PyDict_CheckExact(o.ptr())) return dict(o, builder_.dict());
    if (o.type().is(ordered_dict_)) return ordered_dict(o);
    if (PyList_CheckExact(o.ptr())) return list(o, builder_.list());
    if (PyTuple_CheckExact(o.ptr())) return builder_.tuple(items_of(o));
    if (PySet_CheckExact(o.ptr())) return list(o, builder_.set());
    if (PyFrozenSet_CheckExact(o.ptr())) return builder_.frozenset(items_of(o));
    if (o.type().is(size_type_)) return builder_.size(items_of(o));
    // None, or what it is and its parts
    const nb::object described = describe_(o);
    if (!described.is_none()) return of_library(o, described);
    if (PyType_Check(o.ptr()) || PyFunction_Check(o.ptr()) || PyCFunction_Check(o.ptr()))
      return global(o);
    return object(o);
  }

  Handle dict(nb::handle o, Handle node) {
    memo_.emplace(o.ptr(), node);
    const nb::object items = nb::steal(PyMapping_Items(o.ptr()));
    if (!items) throw nb::python_error();
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items.ptr()); ++i) {
      const nb::handle pair = PyList_GET_ITEM(items.ptr(), i);
      const nb::handle key = PyTuple_GET_ITEM(pair.ptr(), 0);
      const Level level(*this, key);
      set(node, key, PyTuple_GET_ITEM(pair.ptr(), 1));
    }
    return node;
  }

  void set(Handle dict, nb::handle key, nb::handle value) {
    const Handle key_node = add(key);
    if (!builder_.can_be_key(key_node))
      throw UnsupportedError(where() + ": a key of type " + class_name(key) +
                             "; keys can be None, bool, int, float, str, bytes and tuples of them");
    builder_.set(dict, key_node, add(value));
  }

  Handle ordered_dict(nb::handle o) {
    const Handle node = dict(o, builder_.ordered_dict());
    const nb::object attributes = nb::getattr(o, "__dict__", nb::none());
    if (!attributes.is_none() && PyDict_Size(attributes.ptr()) > 0)
      builder_.set_attributes(node, add(attributes));
    return node;
  }

  // Of a list or set, which may be in itself.
  Handle list(nb::handle o, Handle node) {
    memo_.emplace(o.ptr(), node);
    const std::vector<Handle> items = items_of(o);
    builder_.append(node, items);
    return node;
  }

  std::vector<Handle> items_of(nb::handle o) {
    std::vector<Handle> items;
    std::size_t number = 0;
    for (const nb::handle item : nb::borrow<nb::object>(o)) {
      const nb::object key = nb::int_(number++);
      const Level level(*this, key);
      items.push_back(add(item));
    }
    return items;
  }

  Handle of_library(nb::handle o, const nb::object& described) {
    kept_.push_back(described);  // and the storage in it: `o` may get another one meanwhile
    const std::string what = nb::cast<std::string>(described[0]);
    if (what == "dtype") return builder_.add(dtype_of(described[1]));
    if (what == "device") return builder_.device(nb::cast<std::string>(described[1]));
    const Tensor tensor = to_tensor(nb::object(described[1]));
    if (what == "storage") return builder_.storage(tensor.storage(), tensor.dtype());
    const Handle node = builder_.add(tensor);
    const nb::object attributes = nb::getattr(o, "__dict__", nb::none());
    if (!attributes.is_none() && PyDict_Size(attributes.ptr()) > 0) {
      memo_.emplace(o.ptr(), node);
      const Level level(*this, nb::handle());
      builder_.set_attributes(node, add(attributes));
    }
    return node;
  }

  Dtype dtype_of(nb::handle name) const {
    const std::string text = nb::cast<std::string>(name);
    const auto found = dtype_from_name(text);
    if (!found) throw UnsupportedError(where() + ": dtype " + text);
    return *found;
  }

  Handle global(nb::handle o) {
    const nb::object module = nb::getattr(o, "__module__", nb::none());
    const nb::object name = nb::getattr(o, "__qualname__", nb::none());
    if (module.is_none() || name.is_none()) unsaveable(o);
    if (text_of(name).find('<') != std::string::npos)
      unsaveable(o);  // a lambda, or local to a function
    return builder_.global(text_of(module), text_of(name));
  }

  [[noreturn]] void unsaveable(nb::handle o) const {
    throw UnsupportedError(where() + " is a " + class_name(o) +
                           ", which is not data that can be saved");
  }

  // As pickle takes an object apart: what makes it, with what, and its state. It stays inert; the
  // writer refuses it unless it is plain data or the options allow it.
  Handle object(nb::handle o) {
    const nb::object reduced = arrays_.attr("reduce")(o);
    if (reduced.is_none()) unsaveable(o);
    const Level level(*this, nb::handle());
    if (PyUnicode_Check(reduced.ptr()))
      return builder_.global(text_of(arrays_.attr("module_of")(o, reduced)), text_of(reduced));
    const auto made = static_cast<Made>(nb::cast<int>(reduced[0]));
    const Handle callable = add(reduced[1]), arguments = add(nb::object(reduced[2]));
    const Handle node = builder_.object(callable, arguments, made);
    memo_.emplace(o.ptr(), node);
    if (nb::object items = reduced[4]; !items.is_none()) builder_.append(node, items_of(items));
    if (nb::object entries = reduced[5]; !entries.is_none()) {
      for (const nb::handle pair : entries) set(node, nb::object(pair[0]), nb::object(pair[1]));
    }
    if (nb::object state = reduced[3]; !state.is_none()) builder_.set_attributes(node, add(state));
    return node;
  }

  nb::object arrays_;
  nb::object describe_ = arrays_.attr("describe"), size_type_ = arrays_.attr("Size");
  nb::object ordered_dict_ = nb::module_::import_("collections").attr("OrderedDict");
  StateDictBuilder builder_;
  std::unordered_map<PyObject*, Handle> memo_;
  // Every object whose address is in the memo, and every storage whose bytes are borrowed.
  std::vector<nb::object> kept_;
  std::vector<nb::handle> path_;
};

}  // namespace

Tensor to_tensor(nb::handle d) {
  const auto key = nb::cast<std::uintptr_t>(d[0]);
  const auto address = nb::cast<std::uintptr_t>(d[1]);
  const auto nbytes = nb::cast<std::uint64_t>(d[2]);
  const auto device_text = nb::cast<std::string>(d[3]), dtype_text = nb::cast<std::string>(d[4]);
  const auto device = Device::parse(device_text);
  if (!device)
    throw UnsupportedError("a tensor on " + device_text + ", which is not served; move it to cpu");
  const auto dtype = dtype_from_name(dtype_text);
  if (!dtype) throw UnsupportedError("a tensor of dtype " + dtype_text);
  const auto dims = [](nb::handle sizes) {
    std::vector<std::int64_t> values;
    for (const nb::handle size : nb::borrow<nb::object>(sizes))
      values.push_back(nb::cast<std::int64_t>(size));
    return Dims(values);
  };
  // Borrowed: whoever calls keeps the bytes. The key tells storages apart, not addresses: empty
  // ones have none.
  const std::shared_ptr<void> owner(std::shared_ptr<void>(),
                                    reinterpret_cast<void*>(key));                       // NOLINT
  const Storage storage(*device, reinterpret_cast<std::byte*>(address), nbytes, owner);  // NOLINT
  Tensor tensor(storage, *dtype, dims(d[5]), dims(d[6]), nb::cast<std::int64_t>(d[7]));
  tensor.requires_grad = nb::cast<bool>(d[8]);
  tensor.is_parameter = nb::cast<bool>(d[9]);
  tensor.conj = nb::cast<bool>(d[10]);
  tensor.neg = nb::cast<bool>(d[11]);
  return tensor;
}

Collected from_python(nb::handle object, nb::handle arrays) {
  return Collector(arrays).run(object);
}

}  // namespace transload::python
