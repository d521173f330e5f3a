// The extension transload._core: the C++ library's functions as the package's Python files call
// them. Nothing is decided here. The GIL is released while bytes move.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
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

// Returns the size of the file in bytes, and the paths of files that killed saves have left beside
// it.
std::pair<std::uint64_t, Names> save_object(nb::handle object, const std::filesystem::path& path,
                                            const nb::object& arrays, const SaveOptions& options) {
  const StateDict state = from_python(object, arrays);
  SaveResult result;
  {
    const nb::gil_scoped_release released;
    result = save(state, path, options);
  }
  Names leftovers;
  for (const auto& leftover : result.leftovers) leftovers.push_back(leftover.string());
  return {result.nbytes, leftovers};
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
  module.def("human_bytes", human_bytes);
  module.def("devices", [] {
    Names names;
    for (const Device device : devices()) names.push_back(device.str());
    return names;
  });
  module.def("memory_use", memory_of);
  module.def("empty_cache", [](const std::string& device) { empty_cache(device_named(device)); });
  module.def("use_cuda_driver", use_cuda_driver);
}

}  // namespace transload::python
