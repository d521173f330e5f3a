#include "options.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "convert.h"

namespace transload::python {
namespace {

using Names = std::vector<std::string>;
using Renames = std::vector<std::pair<std::string, std::string>>;
using Streams = std::vector<std::pair<std::string, std::uintptr_t>>;
using Limits = std::vector<std::pair<std::string, std::uint64_t>>;

// A Python function inside a std::function, which the library copies and frees without the GIL.
class Function {
 public:
  explicit Function(nb::object function) : kept_(kept(std::move(function))) {}
  nb::handle handle() const { return {static_cast<PyObject*>(kept_.get())}; }

 private:
  std::shared_ptr<void> kept_;
};

void add_function(MapLocation& map_location, nb::object function) {
  const Function decide(std::move(function));
  map_location.add({MapLocation::Rule::Of::function, "", kCpu,
                    [decide](const MapLocation::Stored& stored) -> std::optional<Device> {
                      const nb::gil_scoped_acquire gil;
                      const nb::object device = decide.handle()(
                          std::string(stored.tag), stored.nbytes, std::string(stored.key));
                      if (device.is_none()) return std::nullopt;
                      return device_named(nb::cast<std::string>(device));
                    }});
}

// Ctrl-C and an exception of the user's function end the work, and come out of the call.
ProgressFunction progress_of(nb::object function) {
  const Function report(std::move(function));
  return [report](const Progress& now) {
    const nb::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (!report.handle().is_none()) report.handle()(now.done_nbytes, now.total_nbytes);
  };
}

void make_io(IoOptions* self, nb::object progress, const Streams& streams, int threads) {
  new (self) IoOptions();
  self->progress = progress_of(std::move(progress));
  self->threads = threads;
  for (const auto& [device, stream] : streams)
    self->streams.push_back({device_named(device), stream});
}

void make_load(LoadOptions* self, const IoOptions& io, const MapLocation& map_location,
               const Selection& select, const std::optional<std::string>& dtype, bool mapped,
               bool verify, const Limits& memory_limits) {
  new (self) LoadOptions();
  self->io = io;
  self->map_location = map_location;
  self->select = select;
  self->mapped = mapped;
  self->verify = verify;
  if (dtype) {
    self->dtype = dtype_from_name(*dtype);
    if (!self->dtype) throw UnsupportedError("dtype " + *dtype);
  }
  for (const auto& [device, nbytes] : memory_limits)
    self->memory_limits.push_back({device_named(device), nbytes});
}

void make_fill(FillOptions* self, const IoOptions& io, const Selection& select, bool strict,
               bool transactional, bool verify) {
  new (self) FillOptions{.select = select,
                         .strict = strict,
                         .transactional = transactional,
                         .verify = verify,
                         .io = io};
}

PlainValues plain_values(const std::string& text) {
  if (text == "keep") return PlainValues::keep;
  if (text == "drop") return PlainValues::drop;
  throw UnsupportedError("values is \"" + text + "\"; expected \"keep\" or \"drop\"");
}

void make_save(SaveOptions* self, const IoOptions& io, const std::string& format,
               const std::string& values, bool compact, bool allow_objects,
               const MapLocation& map_location, const std::map<std::string, std::string>& metadata,
               bool in_place) {
  new (self) SaveOptions{.format = format,
                         .values = plain_values(values),
                         .compact = compact,
                         .allow_objects = allow_objects,
                         .locations = map_location,
                         .metadata = metadata,
                         .in_place = in_place,
                         .io = io};
}

}  // namespace

void define_options(nb::module_& module) {
  using Of = MapLocation::Rule::Of;
  nb::class_<MapLocation>(module, "MapLocation",
                          "Where storages go: rules, the first that fits decides.")
      .def(nb::init<>())
      .def(
          "add_text",
          [](MapLocation& m, const std::string& text) { m.add(MapLocation::parse(text)); },
          nb::arg("text"), "A device, \"auto\", or a rule as the command line takes it.")
      .def(
          "add_tag",
          [](MapLocation& m, const std::string& tag, const std::string& device) {
            m.add({Of::tag, tag, device_named(device), {}});
          },
          nb::arg("tag"), nb::arg("device"), "Storages that were saved on a device.")
      .def(
          "add_key",
          [](MapLocation& m, const std::string& pattern, const std::string& device) {
            m.add({Of::key, pattern, device_named(device), {}});
          },
          nb::arg("pattern"), nb::arg("device"), "Storages of tensors whose names fit.")
      .def("add_function", add_function, nb::arg("function"),
           "A function (tag, nbytes, first key) that returns a device, or None for no opinion.");
  nb::class_<Selection>(module, "Selection", "Which tensors are meant, by name.")
      .def(
          "__init__",
          [](Selection* self, std::string at, Names keep, Names drop, const Renames& renames) {
            new (self) Selection{std::move(at), std::move(keep), std::move(drop), {}};
            for (const auto& [pattern, new_name] : renames)
              self->rename.push_back({pattern, new_name});
          },
          nb::kw_only(), nb::arg("at") = "", nb::arg("keep") = Names(), nb::arg("drop") = Names(),
          nb::arg("rename") = Renames())
      .def(
          "name_of",
          [](const Selection& selection, const std::string& name) {
            return selected_name(selection, name);
          },
          nb::arg("name"), "The name that a value gets, or None if it is not selected.");
  nb::class_<OpenOptions>(module, "OpenOptions", "What a pickle may contain.")
      .def(
          "__init__",
          [](OpenOptions* self, bool refuse_objects, bool keep_calls, const Selection& select,
             bool values_by_name) {
            new (self) OpenOptions{refuse_objects, keep_calls, select, values_by_name};
          },
          nb::kw_only(), nb::arg("refuse_objects") = false, nb::arg("keep_calls") = false,
          nb::arg("select") = Selection(), nb::arg("values_by_name") = false);
  nb::class_<IoOptions>(module, "IoOptions", "How bytes are moved.")
      .def("__init__", make_io, nb::kw_only(), nb::arg("progress").none() = nb::none(),
           nb::arg("streams") = Streams(), nb::arg("threads") = 0);
  nb::class_<LoadOptions>(module, "LoadOptions", "What load() takes.")
      .def("__init__", make_load, nb::kw_only(), nb::arg("io"),
           nb::arg("map_location") = MapLocation(), nb::arg("select") = Selection(),
           nb::arg("dtype").none() = nb::none(), nb::arg("mapped") = false,
           nb::arg("verify") = false, nb::arg("memory_limits") = Limits())
      .def_ro("select", &LoadOptions::select)
      .def_ro("map_location", &LoadOptions::map_location);
  nb::class_<FillOptions>(module, "FillOptions", "What load_into() takes.")
      .def("__init__", make_fill, nb::kw_only(), nb::arg("io"), nb::arg("select") = Selection(),
           nb::arg("strict") = true, nb::arg("transactional") = false, nb::arg("verify") = false);
  nb::class_<SaveOptions>(module, "SaveOptions", "What save() takes.")
      .def("__init__", make_save, nb::kw_only(), nb::arg("io"), nb::arg("format") = "",
           nb::arg("values") = "keep", nb::arg("compact") = false, nb::arg("allow_objects") = false,
           nb::arg("map_location") = MapLocation(),
           nb::arg("metadata") = std::map<std::string, std::string>(), nb::arg("in_place") = false);
}

}  // namespace transload::python
