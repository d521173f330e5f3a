// An open checkpoint. Values are numbers here, Value::id(), so that a million of them are no
// objects.
#include "index.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <sys/mman.h>

#include <unordered_set>

#include "classes.h"
#include "convert.h"
#include "options.h"
#include "transload/lazy_tensor.h"

namespace transload::python {
namespace {

using Names = std::vector<std::string>;
using Number = std::uint32_t;

// Memory that the array library makes. Huge pages halve the time to touch large host memory for the
// first time.
AllocateFunction allocate_by(const nb::object& arrays, std::unordered_set<const void*>& made) {
  return [owned = kept(arrays), &made](Device device, std::uint64_t nbytes) {
    const nb::gil_scoped_acquire gil;
    const nb::handle library(static_cast<PyObject*>(owned.get()));
    const nb::object pair = [&] {
      try {
        return nb::object(library.attr("allocate")(device.str(), nbytes));
      } catch (const nb::python_error& error) {
        if (!error.matches(nb::module_::import_("transload._core").attr("DeviceError"))) throw;
        throw DeviceError(
            nb::str(error.value()).c_str());  // so that the library adds for which tensor
      }
    }();
    const auto address = nb::cast<std::uintptr_t>(pair[1]);
    constexpr std::uintptr_t kHugePage = 2ul << 20;
    const std::uintptr_t first = (address + kHugePage - 1) / kHugePage * kHugePage;
    if (device == kCpu && address + nbytes > first + kHugePage) {
      madvise(reinterpret_cast<void*>(first), address + nbytes - first, MADV_HUGEPAGE);
    }
    const std::shared_ptr<void> owner = kept(nb::object(pair[0]));
    made.insert(owner.get());
    return Storage(device, reinterpret_cast<std::byte*>(address), nbytes, owner);
  };
}

// The array library's object for each storage of what was loaded: what it made itself, or what it
// is lent.
StorageObject storages_of(const StateDict& state, const nb::object& arrays,
                          const std::unordered_set<const void*>& made) {
  return [&state, &arrays, &made](std::uint32_t number) -> nb::object {
    const Storage& storage = state.storages()[number];
    if (made.contains(storage.identity()))
      return nb::borrow<nb::object>(static_cast<PyObject*>(storage.owner().get()));
    if (storage.device() != kCpu || storage.nbytes() == 0)
      return nb::object(arrays.attr("allocate")(storage.device().str(), storage.nbytes())[0]);
    auto* const owner = new std::shared_ptr<void>(storage.owner());
    const nb::capsule keeper(
        owner, [](void* p) noexcept { delete static_cast<std::shared_ptr<void>*>(p); });
    return arrays.attr("wrap")(reinterpret_cast<std::uintptr_t>(storage.data()), storage.nbytes(),
                               keeper);
  };
}

// An index until close(). Calls that run at that time finish first.
class Checkpoint {
 public:
  Checkpoint(Index index, std::string path)
      : index_(std::make_shared<const Index>(std::move(index))), path_(std::move(path)) {}

  std::shared_ptr<const Index> index() const {
    if (!index_) throw Error(path_ + ": this checkpoint was closed");
    return index_;
  }
  bool is_closed() const { return index_ == nullptr; }
  void close() { index_.reset(); }

 private:
  std::shared_ptr<const Index> index_;  // changed only with the GIL held
  std::string path_;
};

std::shared_ptr<Checkpoint> open_path(const std::filesystem::path& path,
                                      const OpenOptions& options) {
  const nb::gil_scoped_release released;
  return std::make_shared<Checkpoint>(open(path, options), path.string());
}

std::shared_ptr<Checkpoint> open_opened(const File& file, const OpenOptions& options) {
  const nb::gil_scoped_release released;
  return std::make_shared<Checkpoint>(open(file, options), file.name);
}

nb::object load_index(const Index& index, const nb::object& arrays, LoadOptions options) {
  std::unordered_set<const void*> made;
  options.allocate = allocate_by(arrays, made);
  std::optional<StateDict> state;
  {
    const nb::gil_scoped_release released;
    state = load(index, options);
  }
  return to_python(*state, arrays, storages_of(*state, arrays, made));
}

nb::object load_all(const Checkpoint& checkpoint, const nb::object& arrays,
                    const LoadOptions& options) {
  const auto index = checkpoint.index();
  return load_index(*index, arrays, options);
}

nb::object load_value(const Checkpoint& checkpoint, Number number, const nb::object& arrays,
                      const LoadOptions& options) {
  const auto index = checkpoint.index();
  const Index part = index_below(*index, Value(index->contents, number));
  return load_index(part, arrays, options);
}

nb::object text_object(std::string_view text) {
  PyObject* const made =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogatepass");
  if (!made) throw nb::python_error();
  return nb::steal(made);
}

// The keys of a dict: texts and ints as they are, others as Python prints them.
nb::list keys_of(const Checkpoint& checkpoint, Number number) {
  const auto index = checkpoint.index();
  const Value dict(index->contents, number);
  nb::list keys;
  for (std::size_t i = 0; i < dict.size(); ++i) {
    const Value key = dict.entry(i).first;
    if (key.is(ValueKind::text)) {
      keys.append(text_object(key.text()));
    } else if (key.is(ValueKind::integer)) {
      keys.append(nb::int_(key.integer()));
    } else {
      keys.append(text_object(str(key)));
    }
  }
  return keys;
}

std::string kind_of(const Checkpoint& checkpoint, Number number) {
  const auto index = checkpoint.index();
  return std::string(name(Value(index->contents, number).kind()));
}

// A value that is chosen by name: of a module that was pickled whole, its state dict.
Number chosen(const Value& value) {
  if (!value.is(ValueKind::object)) return value.id();
  const auto state = value.object().state_dict;
  return state ? state->id() : value.id();
}

Number entry_of(const Checkpoint& checkpoint, Number number, std::size_t i) {
  const auto index = checkpoint.index();
  return chosen(Value(index->contents, number).entry(i).second);
}

// Throws Error that lists the parts that exist.
Number at_path(const Checkpoint& checkpoint, Number number, const std::string& path) {
  const auto index = checkpoint.index();
  return chosen(Value(index->contents, number).at_path(path));
}

std::vector<std::pair<std::string, Number>> tensors_of(const Checkpoint& checkpoint) {
  const auto index = checkpoint.index();
  std::vector<std::pair<std::string, Number>> tensors;
  for (const NamedTensor& tensor : index->contents.tensors())
    tensors.emplace_back(tensor.name, tensor.value.id());
  return tensors;
}

// Lines for people about rules that fit nothing in the file, or in one value of it.
Names unused_in(const Checkpoint& checkpoint, const Selection& select,
                const MapLocation& map_location, std::optional<Number> value) {
  const auto index = checkpoint.index();
  const nb::gil_scoped_release released;
  Names lines;
  const std::vector<UnusedRule> unused =
      value
          ? unused_rules(index_below(*index, Value(index->contents, *value)), select, map_location)
          : unused_rules(*index, select, map_location);
  for (const UnusedRule& rule : unused) lines.push_back(str(rule));
  return lines;
}

LazyTensor lazy_of(const Checkpoint& checkpoint, Number number) {
  const auto index = checkpoint.index();
  return {index, Value(index->contents, number)};
}

nb::dict metadata_of(const Checkpoint& checkpoint) {
  const auto index = checkpoint.index();
  nb::dict metadata;
  for (const auto& [key, value] : index->metadata) metadata[text_object(key)] = text_object(value);
  return metadata;
}

nb::dict plan_of(const Checkpoint& checkpoint, LoadOptions load) {
  const auto held = checkpoint.index();
  const Index& index = *held;
  // The array library allocates each storage.
  load.allocate = [](Device device, std::uint64_t) { return Storage(device, nullptr, 0, {}); };
  Plan plan;
  {
    const nb::gil_scoped_release released;
    plan = plan_load(index, load);
  }
  nb::dict data;
  data["text"] = str(plan);
  nb::list devices, storages;
  for (const DeviceNeed& need : plan.devices) {
    nb::dict one;
    one["device"] = need.device.str();
    one["storage_nbytes"] = need.storage_nbytes;
    one["allocated"] = need.allocated;
    one["mapped_nbytes"] = need.mapped_nbytes;
    one["free"] = need.free;
    devices.append(one);
  }
  std::vector<nb::list> keys(index.storages.size());
  const std::vector<Names> names = names_by_storage(plan.contents);
  for (std::size_t s = 0; s < names.size(); ++s) {
    for (const std::string& name_of : names[s]) keys[s].append(text_object(name_of));
  }
  for (std::size_t s = 0; s < plan.placements.size(); ++s) {
    const Placement& placement = plan.placements[s];
    if (nb::len(keys[s]) == 0) continue;
    nb::dict one;
    one["keys"] = keys[s];
    one["location"] = index.locations[index.storages[s].location];
    one["device"] = placement.memory == Placement::kNowhere
                        ? "meta"
                        : plan.memories[placement.memory].device.str();
    one["rule"] = plan.rules[placement.rule];
    one["nbytes"] = placement.nbytes;
    storages.append(one);
  }
  data["devices"] = devices;
  data["storages"] = storages;
  data["transfers"] = plan.transfers.size();
  data["transfer_nbytes"] = plan.transfer_nbytes;
  data["staging_nbytes"] = plan.staging_nbytes;
  return data;
}

std::pair<Names, Names> fill(const Checkpoint& checkpoint, const Names& names,
                             const nb::list& tensors, const FillOptions& options) {
  const auto index = checkpoint.index();
  StateDict live;
  for (std::size_t i = 0; i < names.size(); ++i) live.set(names[i], to_tensor(tensors[i]));
  const nb::gil_scoped_release released;
  FillResult result = load_into(live, *index, options);
  return {std::move(result.missing), std::move(result.unexpected)};
}

nb::tuple tuple_of(const Dims& dims) {
  return nb::tuple(nb::cast(std::vector<std::int64_t>(dims.begin(), dims.end())));
}

// One part of tensor[...]: an int, a slice or an ellipsis. Throws TypeError for anything else.
Subscript subscript_of(nb::handle part) {
  if (part.is(nb::ellipsis())) return kEllipsis;
  if (PySlice_Check(part.ptr())) {
    const auto bound = [&](const char* which) -> std::optional<std::int64_t> {
      const nb::object value = part.attr(which);
      if (value.is_none()) return std::nullopt;
      return nb::cast<std::int64_t>(nb::steal(PyNumber_Index(value.ptr())));
    };
    return Slice{bound("start"), bound("stop"), bound("step").value_or(1)};
  }
  // A bool is an int in Python; in an index it would be a mask.
  if (!PyBool_Check(part.ptr()) && PyLong_Check(part.ptr())) return nb::cast<std::int64_t>(part);
  if (nb::hasattr(part, "__index__") && !PyBool_Check(part.ptr())) {
    PyObject* const number = PyNumber_Index(part.ptr());
    if (number) return nb::cast<std::int64_t>(nb::steal(number));
    PyErr_Clear();
  }
  throw nb::type_error(("a tensor in a file takes ints, slices and ..., not " +
                        nb::cast<std::string>(part.type().attr("__name__")) +
                        "; read() gives all of it to index")
                           .c_str());
}

LazyTensor sliced(const LazyTensor& tensor, nb::handle where) {
  std::vector<Subscript> subscripts;
  if (PyTuple_Check(where.ptr())) {
    for (const nb::handle part : nb::borrow<nb::tuple>(where))
      subscripts.push_back(subscript_of(part));
  } else {
    subscripts.push_back(subscript_of(where));
  }
  try {
    return tensor.slice(subscripts);
  } catch (const Error& error) {
    throw nb::index_error(error.what());
  }
}

void read_into(const LazyTensor& tensor, nb::handle live, const IoOptions& io) {
  const Tensor target = to_tensor(live);
  const nb::gil_scoped_release released;
  tensor.read_into(target, io);
}

}  // namespace

void define_index(nb::module_& module) {
  nb::class_<LazyTensor>(module, "LazyTensor", "A tensor in an open checkpoint, not read yet.")
      .def_prop_ro("dtype", [](const LazyTensor& t) { return std::string(name(t.meta().dtype())); })
      .def_prop_ro("shape", [](const LazyTensor& t) { return tuple_of(t.meta().shape()); })
      .def_prop_ro("stride", [](const LazyTensor& t) { return tuple_of(t.meta().stride()); })
      .def_prop_ro("storage_offset", [](const LazyTensor& t) { return t.meta().storage_offset(); })
      .def_prop_ro("requires_grad", [](const LazyTensor& t) { return t.meta().requires_grad; })
      .def_prop_ro("location", &LazyTensor::location)
      .def_prop_ro("storage",
                   [](const LazyTensor& t) -> std::optional<Number> {
                     if (t.storage_number() == Value::kNoStorage) return std::nullopt;
                     return t.storage_number();
                   })
      .def("slice", sliced, nb::arg("where").none())
      .def("read_into", read_into, nb::arg("live"), nb::arg("io"));
  nb::class_<Checkpoint>(module, "Checkpoint", "A file's contents; values by number.")
      .def_prop_ro("format", [](const Checkpoint& c) { return c.index()->format; })
      .def_prop_ro("metadata", metadata_of)
      .def_prop_ro(
          "locations", [](const Checkpoint& c) { return c.index()->locations; },
          "The tags of the devices that storages were saved on.")
      .def_prop_ro("root", [](const Checkpoint& c) { return chosen(c.index()->contents.root()); })
      .def_prop_ro("is_module",
                   [](const Checkpoint& c) {
                     const Value root = c.index()->contents.root();
                     return chosen(root) != root.id();
                   })
      .def_prop_ro("pickle_protocol",
                   [](const Checkpoint& c) { return c.index()->pickle_protocol; })
      .def("named_classes", [](const Checkpoint& c) { return named_classes(c.index()->contents); })
      .def_prop_ro("is_closed", &Checkpoint::is_closed)
      .def("close", &Checkpoint::close)
      .def("kind", kind_of)
      .def("keys", keys_of)
      .def("entry", entry_of)
      .def("at_path", at_path)
      .def("tensors", tensors_of)
      .def("lazy", lazy_of)
      .def("load", load_all, nb::arg("arrays"), nb::arg("options"))
      .def("load_value", load_value, nb::arg("value"), nb::arg("arrays"), nb::arg("options"))
      .def("plan", plan_of, nb::arg("options"))
      .def("unused_rules", unused_in, nb::arg("select"), nb::arg("map_location"),
           nb::arg("value").none() = nb::none())
      .def("fill", fill, nb::arg("names"), nb::arg("tensors"), nb::arg("options"));
  module.def("open", open_path, nb::arg("path"), nb::arg("options"));
  module.def("open", open_opened, nb::arg("file"), nb::arg("options"));
}

}  // namespace transload::python
