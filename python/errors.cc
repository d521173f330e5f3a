#include "errors.h"

#include <nanobind/eval.h>

#include <cerrno>
#include <cstring>

#include "transload/error.h"

namespace transload::python {
namespace {

namespace nb = nanobind;

// Never freed: exceptions may be translated until the interpreter ends.
struct Types {
  PyObject *error, *io, *not_found, *permission, *format, *unsupported, *unsafe_pickle, *placement,
      *mismatch, *device;
};
Types types;

// What Python code that meets such a failure elsewhere already catches is a base too.
PyObject* define(nb::module_& module, const char* name, const char* doc, PyObject* base,
                 PyObject* also = nullptr) {
  const nb::object bases = also ? nb::object(nb::make_tuple(nb::handle(base), nb::handle(also)))
                                : nb::object(nb::make_tuple(nb::handle(base)));
  PyObject* const type = PyErr_NewExceptionWithDoc((std::string("transload.") + name).c_str(), doc,
                                                   bases.ptr(), nullptr);
  if (!type) throw nb::python_error();
  module.attr(name) = nb::handle(type);
  return type;
}

std::string literal(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c == '\n' ? "\\n" : std::string(1, c);
  }
  return '"' + escaped + '"';
}

// A setting that an error advises as a keyword argument: rename={"module.*": "*"}.
std::string keyword_argument(const Setting& setting) {
  const auto& [option, values, mapped_to] = setting;
  if (values.empty()) return option + "=False";
  std::string text;
  for (std::size_t i = 0; i < values.size(); ++i) {
    text += (i ? ", " : "") + literal(values[i]);
    if (!mapped_to.empty()) text += ": " + literal(mapped_to[i]);
  }
  if (!mapped_to.empty()) return option + "={" + text + "}";
  return option + "=" + (values.size() == 1 ? text : "[" + text + "]");
}

std::string message(const Error& error) { return error.message(keyword_argument); }

void raise(PyObject* type, const Error& error) { PyErr_SetString(type, message(error).c_str()); }

PyObject* io_type(int error_number) {
  if (error_number == ENOENT) return types.not_found;
  if (error_number == EACCES || error_number == EPERM) return types.permission;
  return types.io;
}

// The package adds `filename`, which only it knows as the caller wrote it.
void raise_io(const IoError& error) {
  const int number = error.error_number();
  const nb::object made = nb::handle(io_type(number))(message(error).c_str());
  if (number != 0) {
    nb::setattr(made, "errno", nb::int_(number));
    nb::setattr(made, "strerror", nb::str(std::strerror(number)));
  }
  PyErr_SetObject(reinterpret_cast<PyObject*>(made.ptr()->ob_type), made.ptr());
}

}  // namespace

void define_errors(nb::module_& module) {
  types.error = define(module, "Error",
                       "The base of what transload raises. The message says where, what was "
                       "found, what was expected, and the way out.",
                       PyExc_Exception);
  types.io = define(module, "IoError", "The operating system refused; `errno` says why.",
                    types.error, PyExc_OSError);
  // OSError would print errno and strerror instead of the message.
  nb::setattr(nb::handle(types.io), "__str__", nb::eval("lambda error: str(error.args[0])"));
  types.not_found = define(module, "FileMissingError", "A file or folder that is not there.",
                           types.io, PyExc_FileNotFoundError);
  types.permission =
      define(module, "FilePermissionError", "A file or folder that this process may not use.",
             types.io, PyExc_PermissionError);
  types.format = define(module, "FormatError",
                        "A damaged file, or one that is not of the format it "
                        "seemed to be.",
                        types.error, PyExc_ValueError);
  types.unsupported = define(module, "UnsupportedError",
                             "A valid file or request that needs something "
                             "transload does not do.",
                             types.error);
  types.unsafe_pickle = define(module, "UnsafePickleError",
                               "A pickle names a class or function "
                               "that is not plain data.",
                               types.error);
  types.placement = define(module, "PlacementError",
                           "Rules for devices that conflict, or a device "
                           "that is not there.",
                           types.error, PyExc_RuntimeError);
  types.mismatch = define(module, "MismatchError",
                          "Keys, shapes or dtypes that do not fit; lists "
                          "all of them.",
                          types.error, PyExc_RuntimeError);
  types.device = define(module, "DeviceError",
                        "A device's driver failed, or its memory is not "
                        "enough.",
                        types.error, PyExc_RuntimeError);
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const IoError& error) {
      raise_io(error);
    } catch (const FormatError& error) {
      raise(types.format, error);
    } catch (const UnsupportedError& error) {
      raise(types.unsupported, error);
    } catch (const UnsafePickleError& error) {
      raise(types.unsafe_pickle, error);
    } catch (const PlacementError& error) {
      raise(types.placement, error);
    } catch (const MismatchError& error) {
      raise(types.mismatch, error);
    } catch (const DeviceError& error) {
      raise(types.device, error);
    } catch (const Error& error) {
      raise(types.error, error);
    }
  });
}

}  // namespace transload::python
