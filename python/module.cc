// The extension transload._core: the C++ library's functions as the package's Python files call
// them. Nothing is decided here. The GIL is released while bytes move.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "convert.h"
#include "errors.h"
#include "index.h"
#include "options.h"
#include "source.h"
#include "transload/version.h"

namespace transload::python {

std::shared_ptr<void> kept(nb::object object) {
  return std::shared_ptr<void>(object.release().ptr(), [](void* owned) {
    const nb::gil_scoped_acquire gil;
    Py_DECREF(static_cast<PyObject*>(owned));
  });
}

namespace {

using Names = std::vector<std::string>;

// Returns the size of the file in bytes, the paths of files that killed saves have left beside it
// and that cannot be removed, and what of the old file was not kept.
std::tuple<std::uint64_t, Names, Names> save_object(nb::handle object,
                                                    const std::filesystem::path& path,
                                                    const nb::object& arrays,
                                                    const SaveOptions& options) {
  const Collected collected = from_python(object, arrays);
  SaveResult result;
  {
    const nb::gil_scoped_release released;
    result = save(collected.state, path, options);
  }
  Names leftovers;
  for (const auto& leftover : result.leftovers) leftovers.push_back(leftover.string());
  return {result.nbytes, leftovers, result.not_kept};
}

// Calls `write` with memoryviews that are valid during the call. Returns the number of bytes.
std::uint64_t save_stream(nb::handle object, const nb::object& write, const nb::object& arrays,
                          const SaveOptions& options) {
  const Collected collected = from_python(object, arrays);
  const auto pass_on = [&](std::span<const std::byte> bytes) {
    const nb::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    char* const first = const_cast<char*>(reinterpret_cast<const char*>(bytes.data()));  // NOLINT
    const nb::object view = nb::steal(
        PyMemoryView_FromMemory(first, static_cast<Py_ssize_t>(bytes.size()), PyBUF_READ));
    if (!view) throw nb::python_error();
    write(view);
  };
  const nb::gil_scoped_release released;
  return save(collected.state, pass_on, options).nbytes;
}

nb::dict memory_of(const std::string& text) {
  MemoryUse use;
  {
    const nb::gil_scoped_release released;
    use = memory_use(device_named(text));
  }
  nb::dict data;
  data["name"] = use.name;
  data["total"] = use.total;
  data["free"] = use.free;
  data["allocated"] = use.allocated;
  data["reserved"] = use.reserved;
  data["limit"] = use.limit;
  return data;
}

}  // namespace

NB_MODULE(_core, module) {
  define_errors(module);
  define_options(module);
  define_files(module);
  define_index(module);
  module.attr("__version__") = kVersion;
  module.def("save", save_object, nb::arg("object").none(), nb::arg("path"), nb::arg("arrays"),
             nb::arg("options"));
  module.def("save_stream", save_stream, nb::arg("object").none(), nb::arg("write"),
             nb::arg("arrays"), nb::arg("options"));
  module.def("human_bytes", human_bytes);
  module.def("devices", [] {
    Names names;
    for (const Device device : devices()) names.push_back(device.str());
    return names;
  });
  module.def("memory_use", memory_of);
  module.def("is_torch_device", [](const std::string& text) { return is_torch_device(text); });
  module.def("empty_cache", [](const std::string& device) { empty_cache(device_named(device)); });
  module.def("use_cuda_driver", use_cuda_driver);
}

}  // namespace transload::python
