// The extension transload._core: the C++ library's functions as the package's Python files call them. Nothing is
// decided here: arguments come in as plain values, the GIL is released while bytes move.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <sys/mman.h>

#include <algorithm>
#include <unordered_set>

#include "convert.h"
#include "errors.h"
#include "transload/version.h"
#include "values/node_table.h"

namespace transload::python {

std::shared_ptr<void> kept(nb::object object) {
  return std::shared_ptr<void>(object.release().ptr(), [](void* owned) {
    const nb::gil_scoped_acquire gil;
    Py_DECREF(static_cast<PyObject*>(owned));
  });
}

namespace {

using Names = std::vector<std::string>;
using Renames = std::vector<std::pair<std::string, std::string>>;
using Streams = std::vector<std::pair<std::string, std::uintptr_t>>;

Device device_of(const std::string& text) {
  const auto device = Device::parse(text);
  if (!device) throw PlacementError("\"" + text + "\" is no device; devices are cpu, meta, cuda:N");
  return *device;
}

// Rules as _rules.py writes them: (kind, pattern, device or function), or a text as the command line takes it.
MapLocation map_location_of(nb::handle rules) {
  MapLocation map_location;
  using Rule = MapLocation::Rule;
  for (const nb::handle item : nb::borrow<nb::object>(rules)) {
    if (PyUnicode_Check(item.ptr())) {
      map_location.add(MapLocation::parse(nb::cast<std::string>(item)));
      continue;
    }
    const auto kind = nb::cast<std::string>(item[0]);
    if (kind == "function") {
      const nb::object function = item[2];
      map_location.add({Rule::Of::function, "", kCpu,
                        [function](const MapLocation::Stored& stored) -> std::optional<Device> {
                          const nb::gil_scoped_acquire gil;
                          const nb::object device = function(std::string(stored.tag), stored.nbytes,
                                                             std::string(stored.key));
                          if (device.is_none()) return std::nullopt;
                          return device_of(nb::cast<std::string>(device));
                        }});
    } else {
      map_location.add({kind == "tag" ? Rule::Of::tag : Rule::Of::key,
                        nb::cast<std::string>(item[1]),
                        device_of(nb::cast<std::string>(item[2])),
                        {}});
    }
  }
  return map_location;
}

Selection selection_of(const nb::dict& options) {
  Selection select;
  select.at = nb::cast<std::string>(options["at"]);
  select.keep = nb::cast<Names>(options["keep"]);
  select.drop = nb::cast<Names>(options["drop"]);
  select.rename = nb::cast<Renames>(options["rename"]);
  return select;
}

// Ctrl-C and an exception of the user's function end the work; both come out of the call.
ProgressFunction progress_of(const nb::object& function) {
  return [function](const Progress& now) {
    const nb::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (!function.is_none()) function(now.done_nbytes, now.total_nbytes);
  };
}

IoOptions io_of(const nb::dict& options) {
  IoOptions io;
  io.progress = progress_of(options["progress"]);
  for (const auto& [device, stream] : nb::cast<Streams>(options["streams"]))
    io.streams.emplace_back(device_of(device), stream);
  return io;
}

LoadOptions load_options(const nb::dict& options) {
  LoadOptions load;
  load.map_location = map_location_of(options["map_location"]);
  load.select = selection_of(options);
  if (const nb::object dtype = options["dtype"]; !dtype.is_none()) {
    load.dtype = dtype_from_name(nb::cast<std::string>(dtype));
    if (!load.dtype) throw UnsupportedError("dtype " + nb::cast<std::string>(dtype));
  }
  load.mapped = nb::cast<bool>(options["mapped"]);
  load.verify = nb::cast<bool>(options["verify"]);
  for (const auto& [device, nbytes] :
       nb::cast<std::vector<std::pair<std::string, std::uint64_t>>>(options["memory_limits"]))
    load.memory_limits.emplace_back(device_of(device), nbytes);
  load.io = io_of(options);
  return load;
}

// Memory that the array library makes. Huge pages halve the time to touch large host memory for the first time.
AllocateFunction allocate_by(const nb::object& arrays, std::unordered_set<const void*>& made) {
  return [arrays, &made](Device device, std::uint64_t nbytes) {
    const nb::gil_scoped_acquire gil;
    const nb::object pair = [&] {
      try {
        return nb::object(arrays.attr("allocate")(device.str(), nbytes));
      } catch (const nb::python_error& error) {
        if (!error.matches(nb::module_::import_("transload._core").attr("DeviceError"))) throw;
        throw DeviceError(nb::str(error.value()).c_str());  // so that it is told for which tensor
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

// The array library's object for each storage of what was loaded: what it made itself, or what it is lent.
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

// An index that stays open, with what is asked of it again and again.
struct Opened {
  Index index;
  std::vector<std::uint32_t> first_piece;  // by storage; the pieces of one stand together
};

std::shared_ptr<Opened> open_file(const std::filesystem::path& path, bool refuse_objects,
                                  bool keep_calls) {
  const nb::gil_scoped_release released;
  auto opened = std::make_shared<Opened>();
  opened->index = open(path, {.refuse_objects = refuse_objects, .keep_calls = keep_calls});
  opened->first_piece.resize(opened->index.storages.size() + 1);
  for (const Piece& piece : opened->index.pieces) ++opened->first_piece[piece.storage + 1];
  for (std::size_t s = 1; s < opened->first_piece.size(); ++s)
    opened->first_piece[s] += opened->first_piece[s - 1];
  return opened;
}

nb::object load_index(const Index& index, const nb::object& arrays, const nb::dict& options) {
  LoadOptions load = load_options(options);
  std::unordered_set<const void*> made;
  load.allocate = allocate_by(arrays, made);
  std::optional<StateDict> state;
  {
    const nb::gil_scoped_release released;
    state = transload::load(index, load);
  }
  return to_python(*state, arrays, storages_of(*state, arrays, made));
}

// The same index with another root.
Index below(const Index& index, NodeId node) {
  Index part = index;
  auto nodes = std::make_shared<NodeTable>();
  std::vector<std::uint32_t> numbers(index.storages.size());
  for (std::uint32_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
  nodes->root = nodes->copy(index.contents.nodes(), node, numbers);
  const auto storages = index.contents.storages();
  part.contents = StateDict(std::move(nodes), {storages.begin(), storages.end()});
  return part;
}

// An index of one tensor, or of a view of it: what reading it costs does not depend on how many there are.
Index of_one(const Opened& opened, const Tensor& view, std::uint32_t storage) {
  const Index& index = opened.index;
  Index one;
  one.format = index.format;
  one.files = index.files;
  one.locations = index.locations;
  one.storages.push_back(index.storages[storage]);
  for (std::uint32_t p = opened.first_piece[storage]; p < opened.first_piece[storage + 1]; ++p) {
    one.pieces.push_back(index.pieces[p]);
    one.pieces.back().storage = 0;
  }
  one.contents.set("tensor", view);
  return one;
}

void read_view(const Opened& opened, NodeId node, std::int64_t offset,
               const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& stride,
               nb::handle live, const nb::dict& options) {
  const Tensor whole = Value(opened.index.contents, node).tensor();
  Tensor view(whole.storage(), whole.dtype(), shape, stride, offset);
  view.conj = whole.conj;
  view.neg = whole.neg;
  StateDict target;
  target.set("tensor", to_tensor(live));
  FillOptions fill;
  fill.io = io_of(options);
  const Index one = of_one(opened, view, opened.index.contents.nodes().storage_number(node));
  const nb::gil_scoped_release released;
  load_into(target, one, fill);
}

nb::tuple tensor_info(const Opened& opened, NodeId node) {
  const NodeTable& nodes = opened.index.contents.nodes();
  const TensorRow& row = nodes.row(node);
  const auto dims = [](std::span<const std::int64_t> sizes) {
    return nb::tuple(nb::cast(std::vector<std::int64_t>(sizes.begin(), sizes.end())));
  };
  const bool stored = row.storage != TensorRow::kNoStorage;
  const std::string location =
      stored ? opened.index.locations[opened.index.storages[row.storage].location] : "meta";
  return nb::make_tuple(std::string(name(row.dtype)), dims(nodes.shape(node)),
                        dims(nodes.stride(node)), row.storage_offset,
                        static_cast<bool>(row.requires_grad),
                        stored ? nb::object(nb::int_(row.storage)) : nb::none(), location);
}

nb::list keys_of(const Opened& opened, NodeId node) {
  const NodeTable& nodes = opened.index.contents.nodes();
  nb::list keys;
  const auto entries = nodes.entries(node);
  for (std::size_t i = 0; i < entries.size(); i += 2) {
    const NodeId key = entries[i];
    if (nodes.kind(key) == ValueKind::text) {
      const std::string_view text = nodes.as_text(key);
      keys.append(nb::steal(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()),
                                                 "surrogatepass")));
    } else if (nodes.kind(key) == ValueKind::integer) {
      keys.append(nb::int_(nodes.as_integer(key)));
    } else {
      keys.append(nb::str(str(Value(opened.index.contents, key)).c_str()));
    }
  }
  return keys;
}

// The node of the i-th entry's value, and what kind it is.
std::pair<NodeId, std::string> entry_of(const Opened& opened, NodeId node, std::size_t i) {
  const NodeTable& nodes = opened.index.contents.nodes();
  const NodeId value = nodes.entries(node)[2 * i + 1];
  return {value, std::string(name(nodes.kind(value)))};
}

nb::dict plan_of(const Opened& opened, const nb::dict& options) {
  const Index& index = opened.index;
  LoadOptions load = load_options(options);
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
  const std::vector<std::vector<std::string>> names = names_by_storage(plan.contents);
  for (std::size_t s = 0; s < names.size(); ++s)
    for (const std::string& name_of : names[s]) keys[s].append(nb::str(name_of.c_str(), name_of.size()));
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

std::pair<Names, Names> fill(const Opened& opened, const nb::list& names, const nb::list& tensors,
                             const nb::dict& options) {
  StateDict live;
  for (std::size_t i = 0; i < nb::len(names); ++i)
    live.set(nb::cast<std::string>(names[i]), to_tensor(tensors[i]));
  FillOptions filling;
  filling.select = selection_of(options);
  filling.strict = nb::cast<bool>(options["strict"]);
  filling.verify = nb::cast<bool>(options["verify"]);
  filling.io = io_of(options);
  filling.transactional = nb::cast<bool>(options["transactional"]);
  const nb::gil_scoped_release released;
  const FillResult result = load_into(live, opened.index, filling);
  return {result.missing, result.unexpected};
}

std::pair<std::uint64_t, std::vector<std::string>> save_object(nb::handle object,
                                                               const std::filesystem::path& path,
                                                               const nb::object& arrays,
                                                               const nb::dict& options) {
  const StateDict state = from_python(object, arrays);
  SaveOptions saving;
  saving.format = nb::cast<std::string>(options["format"]);
  saving.compact = nb::cast<bool>(options["compact"]);
  saving.allow_objects = nb::cast<bool>(options["allow_objects"]);
  saving.locations = map_location_of(options["map_location"]);
  saving.io = io_of(options);
  for (const auto& [key, value] : nb::cast<Renames>(options["metadata"]))
    saving.metadata[key] = value;
  SaveResult result;
  {
    const nb::gil_scoped_release released;
    result = save(state, path, saving);
  }
  Names leftovers;
  for (const auto& leftover : result.leftovers) leftovers.push_back(leftover.string());
  return {result.nbytes, leftovers};
}

nb::dict memory_of(const std::string& text) {
  MemoryUse use;
  {
    const nb::gil_scoped_release released;
    use = memory_use(device_of(text));
  }
  nb::dict data;
  data["name"] = use.name;
  data["total"] = use.total;
  data["free"] = use.free;
  data["allocated"] = use.allocated;
  data["reserved"] = use.reserved;
  return data;
}

void define_index(nb::module_& module) {
  nb::class_<Opened>(module, "Index")
      .def_prop_ro("format", [](const Opened& o) { return o.index.format; })
      .def_prop_ro("metadata",
                   [](const Opened& o) {
                     nb::dict metadata;
                     for (const auto& [key, value] : o.index.metadata)
                       metadata[nb::str(key.c_str(), key.size())] =
                           nb::str(value.c_str(), value.size());
                     return metadata;
                   })
      .def_prop_ro("root", [](const Opened& o) { return o.index.contents.nodes().root; })
      .def("kind",
           [](const Opened& o, NodeId node) {
             return std::string(name(o.index.contents.nodes().kind(node)));
           })
      .def("keys", keys_of)
      .def("entry", entry_of)
      .def("find",
           [](const Opened& o, NodeId node, const std::string& key) {
             return Value(o.index.contents, node).at(key).id();
           })
      .def("tensor_info", tensor_info)
      .def("tensors",
           [](const Opened& o) {
             std::vector<std::pair<std::string, NodeId>> tensors;
             for (const NamedTensor& tensor : o.index.contents.tensors())
               tensors.emplace_back(tensor.name, tensor.value.id());
             return tensors;
           })
      .def("load", [](const Opened& o, const nb::object& arrays,
                      const nb::dict& options) { return load_index(o.index, arrays, options); })
      .def("load_value",
           [](const Opened& o, NodeId node, const nb::object& arrays, const nb::dict& options) {
             return load_index(below(o.index, node), arrays, options);
           })
      .def("read_view", read_view)
      .def("plan", plan_of)
      .def("fill", fill);
}

}  // namespace

NB_MODULE(_core, module) {
  define_errors(module);
  define_index(module);
  module.attr("__version__") = transload::kVersion;
  module.def("open", open_file);
  module.def("save", save_object);
  module.def("human_bytes", human_bytes);
  module.def("devices", [] {
    Names names;
    for (const Device device : devices()) names.push_back(device.str());
    return names;
  });
  module.def("memory_use", memory_of);
  module.def("empty_cache", [](const std::string& device) { empty_cache(device_of(device)); });
  module.def("use_cuda_driver", use_cuda_driver);
}

}  // namespace transload::python
