// One stack of frames instead of recursion: what a checkpoint nests is bounded only by memory.
#include <array>

#include "convert.h"
#include "values/node_table.h"

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

nb::object dims_object(std::span<const std::int64_t> sizes) {
  nb::object tuple = steal(PyTuple_New(static_cast<Py_ssize_t>(sizes.size())));
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i),
                     steal(PyLong_FromLongLong(sizes[i])).release().ptr());
  }
  return tuple;
}

class Builder {
 public:
  Builder(const StateDict& state, nb::handle arrays, const StorageObject& storage_of)
      : nodes_(state.nodes()),
        storage_of_(storage_of),
        make_tensor_(arrays.attr("tensor")),
        arrays_(nb::borrow<nb::object>(arrays)),
        made_(nodes_.size()),
        storages_(state.storages().size()) {}

  nb::object run() {
    enter(nodes_.root);
    while (!frames_.empty()) {
      Frame& frame = frames_.back();
      const NodeId child = child_of(frame.node, frame.next);
      if (child == kEnd) {
        const NodeId node = frame.node;
        frames_.pop_back();
        leave(node);
        continue;
      }
      ++frame.next;
      if (child != kNoNode && !made_[child]) enter(child);
    }
    return made_[nodes_.root];
  }

 private:
  static constexpr NodeId kEnd = kNoNode - 1;
  struct Frame {
    NodeId node;
    std::size_t next;
  };

  // The i-th of the nodes that have to be there before this one is complete; kEnd behind the last.
  NodeId child_of(NodeId node, std::size_t i) const {
    std::span<const NodeId> parts;
    switch (nodes_.kind(node)) {
      case ValueKind::dict:
      case ValueKind::ordered_dict:
        parts = nodes_.entries(node);
        break;
      case ValueKind::tensor:
        break;
      default:
        parts = nodes_.items(node);
    }
    if (i < parts.size()) return parts[i];
    return i == parts.size() ? nodes_.attributes(node) : kEnd;
  }

  // What can be changed exists from here on, so that its parts may refer to it.
  void enter(NodeId node) {
    switch (nodes_.kind(node)) {
      case ValueKind::list:
        made_[node] = steal(PyList_New(0));
        break;
      case ValueKind::set:
        made_[node] = steal(PySet_New(nullptr));
        break;
      case ValueKind::dict:
        made_[node] = steal(PyDict_New());
        break;
      case ValueKind::ordered_dict:
        made_[node] = ordered_dict_();
        break;
      case ValueKind::tuple:
      case ValueKind::size:
      case ValueKind::frozenset:
      case ValueKind::object:
        break;
      case ValueKind::tensor:
        made_[node] = tensor(node);
        if (nodes_.attributes(node) == kNoNode) return;
        break;
      default:
        made_[node] = leaf(node);
        return;
    }
    frames_.push_back({node, 0});
  }

  nb::handle at(NodeId node) const {
    if (!made_[node]) throw UnsupportedError("a tuple or object that contains itself");
    return made_[node];
  }

  // Hashing a tuple looks at all of its parts: those of a hostile file can be without end.
  void require_hashable(NodeId node) const {
    if (!nodes_.is_hashable(node))
      throw UnsupportedError("a set with a " + std::string(name(nodes_.kind(node))) +
                             " in it, or with a tuple of more than 64 parts");
  }

  void leave(NodeId node) {
    switch (nodes_.kind(node)) {
      case ValueKind::list:
        for (const NodeId item : nodes_.items(node)) {
          if (PyList_Append(made_[node].ptr(), at(item).ptr()) != 0) throw nb::python_error();
        }
        break;
      case ValueKind::set:
        for (const NodeId item : nodes_.items(node)) {
          require_hashable(item);
          if (PySet_Add(made_[node].ptr(), at(item).ptr()) != 0) throw nb::python_error();
        }
        break;
      case ValueKind::dict:
      case ValueKind::ordered_dict: {
        const auto entries = nodes_.entries(node);
        for (std::size_t i = 0; i < entries.size(); i += 2) {
          if (PyObject_SetItem(made_[node].ptr(), at(entries[i]).ptr(), at(entries[i + 1]).ptr()) !=
              0) {
            if (nodes_.kind(entries[i]) == ValueKind::tensor &&
                PyErr_ExceptionMatches(PyExc_TypeError)) {
              PyErr_Clear();
              throw UnsupportedError(
                  "a dict whose keys are tensors, which NumPy's arrays cannot be; PyTorch's can");
            }
            throw nb::python_error();
          }
        }
        break;
      }
      case ValueKind::tuple:
        made_[node] = tuple(nodes_.items(node));
        break;
      case ValueKind::size:
        made_[node] = arrays_.attr("size")(tuple(nodes_.items(node)));
        break;
      case ValueKind::frozenset:
        for (const NodeId item : nodes_.items(node)) require_hashable(item);
        made_[node] = steal(PyFrozenSet_New(tuple(nodes_.items(node)).ptr()));
        break;
      case ValueKind::object:
        made_[node] = object(node);
        return;  // its attributes are part of it
      default:
        break;
    }
    if (const NodeId attributes = nodes_.attributes(node); attributes != kNoNode) {
      made_[node].attr("__dict__").attr("update")(at(attributes));
    }
  }

  nb::object tuple(std::span<const NodeId> items) const {
    nb::object made = steal(PyTuple_New(static_cast<Py_ssize_t>(items.size())));
    for (std::size_t i = 0; i < items.size(); ++i) {
      PyTuple_SET_ITEM(made.ptr(), static_cast<Py_ssize_t>(i), at(items[i]).inc_ref().ptr());
    }
    return made;
  }

  nb::object object(NodeId node) const {
    const auto parts = nodes_.items(node);
    const auto part = [&](std::size_t i) -> nb::object {
      if (i >= parts.size() || parts[i] == kNoNode) return nb::none();
      return nb::borrow<nb::object>(at(parts[i]));
    };
    const NodeId state = nodes_.attributes(node);
    return arrays_.attr("object")(
        part(0), part(1), part(2), part(3),
        state == kNoNode ? nb::object(nb::none()) : nb::borrow<nb::object>(at(state)),
        static_cast<int>(nodes_.made(node)), state != kNoNode);
  }

  nb::object leaf(NodeId node) {
    switch (nodes_.kind(node)) {
      case ValueKind::none:
        return nb::none();
      case ValueKind::boolean:
        return nb::bool_(nodes_.as_boolean(node));
      case ValueKind::integer:
        return steal(PyLong_FromLongLong(nodes_.as_integer(node)));
      case ValueKind::big_integer: {
        const std::string_view bytes = nodes_.as_text(node);
        return nb::module_::import_("builtins")
            .attr("int")
            .attr("from_bytes")(nb::bytes(bytes.data(), bytes.size()), "little",
                                nb::arg("signed") = true);
      }
      case ValueKind::real:
        return steal(PyFloat_FromDouble(nodes_.as_real(node)));
      case ValueKind::complex: {
        const auto [re, im] = nodes_.as_complex(node);
        return steal(PyComplex_FromDoubles(re, im));
      }
      case ValueKind::text:
        return text_object(nodes_.as_text(node));
      case ValueKind::bytes: {
        const std::string_view bytes = nodes_.as_text(node);
        return nb::bytes(bytes.data(), bytes.size());
      }
      case ValueKind::bytearray: {
        const std::string_view bytes = nodes_.as_text(node);
        return steal(
            PyByteArray_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size())));
      }
      case ValueKind::device:
        return arrays_.attr("device")(text_object(nodes_.as_text(node)));
      case ValueKind::dtype:
        return dtype(nodes_.as_dtype(node));
      case ValueKind::global:
        return arrays_.attr("name")(text_object(nodes_.module_of(node)),
                                    text_object(nodes_.name_of(node)));
      case ValueKind::storage:
        return arrays_.attr("typed_storage")(storage(nodes_.storage_number(node)),
                                             dtype(nodes_.as_dtype(node)));
      default:
        throw Error("a value of kind " + std::string(name(nodes_.kind(node))));
    }
  }

  nb::object tensor(NodeId node) {
    const TensorRow& row = nodes_.row(node);
    return make_tensor_(
        row.storage == TensorRow::kNoStorage ? nb::object(nb::none()) : storage(row.storage),
        dtype(row.dtype), dims_object(nodes_.shape(node)), dims_object(nodes_.stride(node)),
        row.storage_offset, static_cast<bool>(row.requires_grad),
        static_cast<bool>(row.is_parameter), static_cast<bool>(row.conj),
        static_cast<bool>(row.neg));
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

  const NodeTable& nodes_;
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
