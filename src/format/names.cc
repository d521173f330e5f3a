// Facts: torch/_utils.py, torch/serialization.py of PyTorch 2.13; sys.stdlib_module_names of Python 3.11 and what
// Python 2 called them.
#include "format/names.h"

#include <algorithm>
#include <cctype>

#include "transload/dtype.h"

namespace transload {
namespace {

struct PlainName {
  std::string_view module, name;
};

// Plain data: nothing runs for it but its own constructor. The spellings of Python 2 and 3, numpy 1 and 2.
constexpr PlainName kPlainNames[] = {
    {"collections", "Counter"},
    {"collections", "defaultdict"},
    {"collections", "deque"},
    {"collections", "OrderedDict"},
    {"builtins", "slice"},
    {"__builtin__", "slice"},
    {"builtins", "range"},
    {"__builtin__", "xrange"},
    {"builtins", "list"},
    {"__builtin__", "list"},
    {"builtins", "dict"},
    {"__builtin__", "dict"},
    {"builtins", "int"},
    {"__builtin__", "int"},
    {"__builtin__", "long"},
    {"builtins", "float"},
    {"__builtin__", "float"},
    {"builtins", "set"},
    {"__builtin__", "set"},
    {"builtins", "tuple"},
    {"__builtin__", "tuple"},
    {"builtins", "str"},
    {"builtins", "bool"},
    {"__builtin__", "bool"},
    {"__builtin__", "unicode"},
    {"numpy", "ndarray"},
    {"numpy", "dtype"},
    {"numpy.core.multiarray", "scalar"},
    {"numpy._core.multiarray", "scalar"},
    {"numpy.core.multiarray", "_reconstruct"},
    {"numpy._core.multiarray", "_reconstruct"},
    {"datetime", "datetime"},
    {"datetime", "timedelta"},
    {"datetime", "date"},
    {"pathlib", "PosixPath"},
    {"pathlib", "PurePosixPath"},
    {"pathlib._local", "PosixPath"},
    {"argparse", "Namespace"},
    {"torch", "Tensor"},
    {"torch", "per_tensor_affine"},
    {"torch", "per_channel_affine"},
    {"torch", "per_tensor_symmetric"},
    {"torch", "per_channel_symmetric"},
    {"torch", "per_channel_affine_float_qparams"},
    {"torch.serialization", "_get_layout"},
    {"torch.torch_version", "TorchVersion"},
    {"torch._C", "Generator"},
    {"torch._utils", "_rebuild_sparse_tensor"},
    {"torch._utils", "_rebuild_sparse_csr_tensor"},
    {"torch._utils", "_rebuild_device_tensor_from_cpu_tensor"},
    {"torch._utils", "_rebuild_device_tensor_from_numpy"},
    {"torch._utils", "_rebuild_xla_tensor"},
    {"torch._utils", "_rebuild_wrapper_subclass"},
    {"torch._utils", "_rebuild_qtensor"},
    {"torch._utils", "_rebuild_nested_tensor"},
};

// Made by the reader itself: torch_object.cc.
constexpr PlainName kMadeNames[] = {
    {"torch", "Size"},
    {"torch", "device"},
    {"torch._utils", "_rebuild_tensor"},
    {"torch._utils", "_rebuild_tensor_v2"},
    {"torch._utils", "_rebuild_tensor_v3"},
    {"torch._utils", "_rebuild_parameter"},
    {"torch._utils", "_rebuild_parameter_with_state"},
    {"torch._utils", "_rebuild_meta_tensor_no_storage"},
    {"torch._tensor", "_rebuild_from_type_v2"},
    {"torch.tensor", "_rebuild_from_type_v2"},
    {"torch.nn.parameter", "Parameter"},
    {"_codecs", "encode"},
    {"builtins", "bytes"},
    {"__builtin__", "bytes"},
    {"builtins", "Ellipsis"},
    {"__builtin__", "Ellipsis"},
    {"builtins", "bytearray"},
    {"__builtin__", "bytearray"},
    {"builtins", "set"},
    {"__builtin__", "set"},
    {"builtins", "frozenset"},
    {"__builtin__", "frozenset"},
    {"builtins", "complex"},
    {"__builtin__", "complex"},
};

// Functions that make objects of a class that stands among their arguments, and is judged there; and those with which
// ordinary checkpoints spell what is no plain data.
constexpr PlainName kMakers[] = {
    {"copyreg", "_reconstructor"},
    {"copy_reg", "_reconstructor"},
    {"copyreg", "__newobj__"},
    {"copy_reg", "__newobj__"},
    {"builtins", "object"},
    {"__builtin__", "object"},
    {"numpy.core.numeric", "_frombuffer"},
    {"numpy._core.numeric", "_frombuffer"},
    {"numpy.random._pickle", "__randomstate_ctor"},
    {"numpy.random._pickle", "__generator_ctor"},
    {"numpy.random._pickle", "__bit_generator_ctor"},
    {"torch.nested._internal.nested_tensor", "_rebuild_njt"},
    {"torch.jit._pickle", "restore_type_tag"},
    {"torch.jit._pickle", "build_intlist"},
    {"torch.jit._pickle", "build_tensorlist"},
    {"torch.jit._pickle", "build_doublelist"},
    {"torch.jit._pickle", "build_boollist"},
    {"torch.jit._pickle", "build_tensor_from_id"},
};

// Python's own modules, and its installers. What of them is not plain data is called by no checkpoint.
constexpr std::string_view kPythonModules[] = {"StringIO",
                                               "__builtin__",
                                               "__future__",
                                               "_aix_support",
                                               "_bootsubprocess",
                                               "_codecs",
                                               "_compat_pickle",
                                               "_ctypes",
                                               "_frozen_importlib",
                                               "_frozen_importlib_external",
                                               "_imp",
                                               "_io",
                                               "_operator",
                                               "_osx_support",
                                               "_pickle",
                                               "_posixshmem",
                                               "_posixsubprocess",
                                               "_pydecimal",
                                               "_pyio",
                                               "_signal",
                                               "_socket",
                                               "_thread",
                                               "_winapi",
                                               "abc",
                                               "aifc",
                                               "argparse",
                                               "array",
                                               "ast",
                                               "asynchat",
                                               "asyncio",
                                               "asyncore",
                                               "atexit",
                                               "audioop",
                                               "base64",
                                               "bdb",
                                               "binascii",
                                               "bisect",
                                               "builtins",
                                               "bz2",
                                               "cPickle",
                                               "cProfile",
                                               "calendar",
                                               "cgi",
                                               "cgitb",
                                               "chunk",
                                               "cmath",
                                               "cmd",
                                               "code",
                                               "codecs",
                                               "codeop",
                                               "collections",
                                               "colorsys",
                                               "commands",
                                               "compileall",
                                               "concurrent",
                                               "configparser",
                                               "contextlib",
                                               "contextvars",
                                               "copy",
                                               "copy_reg",
                                               "copyreg",
                                               "crypt",
                                               "csv",
                                               "ctypes",
                                               "curses",
                                               "dataclasses",
                                               "datetime",
                                               "dbm",
                                               "decimal",
                                               "difflib",
                                               "dis",
                                               "distutils",
                                               "doctest",
                                               "email",
                                               "encodings",
                                               "ensurepip",
                                               "enum",
                                               "errno",
                                               "faulthandler",
                                               "fcntl",
                                               "filecmp",
                                               "fileinput",
                                               "fnmatch",
                                               "fractions",
                                               "ftplib",
                                               "functools",
                                               "gc",
                                               "genericpath",
                                               "getopt",
                                               "getpass",
                                               "gettext",
                                               "glob",
                                               "graphlib",
                                               "grp",
                                               "gzip",
                                               "hashlib",
                                               "heapq",
                                               "hmac",
                                               "html",
                                               "http",
                                               "httplib",
                                               "idlelib",
                                               "imaplib",
                                               "imghdr",
                                               "imp",
                                               "importlib",
                                               "inspect",
                                               "io",
                                               "ipaddress",
                                               "itertools",
                                               "json",
                                               "keyword",
                                               "lib2to3",
                                               "linecache",
                                               "locale",
                                               "logging",
                                               "lzma",
                                               "mailbox",
                                               "mailcap",
                                               "marshal",
                                               "math",
                                               "mimetypes",
                                               "mmap",
                                               "modulefinder",
                                               "msilib",
                                               "msvcrt",
                                               "multiprocessing",
                                               "netrc",
                                               "nis",
                                               "nntplib",
                                               "nt",
                                               "ntpath",
                                               "nturl2path",
                                               "numbers",
                                               "opcode",
                                               "operator",
                                               "optparse",
                                               "os",
                                               "ossaudiodev",
                                               "pathlib",
                                               "pdb",
                                               "pickle",
                                               "pickletools",
                                               "pip",
                                               "pipes",
                                               "pkg_resources",
                                               "pkgutil",
                                               "platform",
                                               "plistlib",
                                               "poplib",
                                               "posix",
                                               "posixpath",
                                               "pprint",
                                               "profile",
                                               "pstats",
                                               "pty",
                                               "pwd",
                                               "py_compile",
                                               "pyclbr",
                                               "pydoc",
                                               "pydoc_data",
                                               "pyexpat",
                                               "queue",
                                               "quopri",
                                               "random",
                                               "re",
                                               "readline",
                                               "reprlib",
                                               "resource",
                                               "rlcompleter",
                                               "runpy",
                                               "sched",
                                               "secrets",
                                               "select",
                                               "selectors",
                                               "setuptools",
                                               "shelve",
                                               "shlex",
                                               "shutil",
                                               "signal",
                                               "site",
                                               "smtpd",
                                               "smtplib",
                                               "sndhdr",
                                               "socket",
                                               "socketserver",
                                               "spwd",
                                               "sqlite3",
                                               "sre_compile",
                                               "sre_constants",
                                               "sre_parse",
                                               "ssl",
                                               "stat",
                                               "statistics",
                                               "string",
                                               "stringprep",
                                               "struct",
                                               "subprocess",
                                               "sunau",
                                               "symtable",
                                               "sys",
                                               "sysconfig",
                                               "syslog",
                                               "tabnanny",
                                               "tarfile",
                                               "telnetlib",
                                               "tempfile",
                                               "termios",
                                               "test",
                                               "textwrap",
                                               "threading",
                                               "time",
                                               "timeit",
                                               "tkinter",
                                               "token",
                                               "tokenize",
                                               "tomllib",
                                               "trace",
                                               "traceback",
                                               "tracemalloc",
                                               "tty",
                                               "turtle",
                                               "turtledemo",
                                               "types",
                                               "typing",
                                               "unicodedata",
                                               "unittest",
                                               "urllib",
                                               "urllib2",
                                               "uu",
                                               "uuid",
                                               "venv",
                                               "warnings",
                                               "wave",
                                               "weakref",
                                               "webbrowser",
                                               "winreg",
                                               "winsound",
                                               "wsgiref",
                                               "xdrlib",
                                               "xml",
                                               "xmlrpc",
                                               "zipapp",
                                               "zipfile",
                                               "zipimport",
                                               "zlib",
                                               "zoneinfo"};

template <std::size_t n>
bool is_in(const PlainName (&list)[n], std::string_view module, std::string_view name) {
  return std::any_of(std::begin(list), std::end(list),
                     [&](const PlainName& p) { return p.module == module && p.name == name; });
}

std::string_view package(std::string_view module) { return module.substr(0, module.find('.')); }

bool is_torch_data(std::string_view module, std::string_view name) {
  const bool storage =
      dtype_from_storage_class(name) || name == "UntypedStorage" || name == "TypedStorage";
  if (storage && (module == "torch" || module == "torch.storage" || module == "torch.cuda"))
    return true;
  // "torch.FloatTensor": what old files call a tensor's type
  if ((module == "torch" || module == "torch.cuda" || module == "torch.sparse") &&
      name.ends_with("Tensor"))
    return dtype_from_storage_class(std::string(name.substr(0, name.size() - 6)) + "Storage")
        .has_value();
  return module == "torch" && dtype_from_name(name).has_value();
}

// As classes are called, by everybody but the builders of Python's own.
bool looks_like_a_class(std::string_view name) {
  const std::size_t first = name.find_first_not_of('_');
  return first != std::string_view::npos && std::isupper(static_cast<unsigned char>(name[first]));
}

}  // namespace

bool is_plain_data(std::string_view module, std::string_view name) {
  return is_in(kPlainNames, module, name);
}

bool runs_code(std::string_view module, std::string_view name) {
  if (is_plain_data(module, name) || is_in(kMadeNames, module, name) ||
      is_in(kMakers, module, name))
    return false;
  if (std::ranges::find(kPythonModules, package(module)) != std::end(kPythonModules)) return true;
  const bool torch_or_numpy = package(module) == "torch" || package(module) == "numpy";
  if (!torch_or_numpy || is_torch_data(module, name)) return false;
  // The way through an attribute: "Size.mro". And functions; of those there are some that load whole files.
  return name.find('.') != std::string_view::npos || !looks_like_a_class(name);
}

Verdict verdict_of(std::string_view module, std::string_view name, PickleUse::How how) {
  if (is_plain_data(module, name) || is_in(kMadeNames, module, name) || is_torch_data(module, name))
    return Verdict::plain;
  if (runs_code(module, name)) return Verdict::runs_code;
  if (is_in(kMakers, module, name)) return Verdict::plain;
  // Not known. A class is needed; a function would run.
  const bool called = how == PickleUse::How::call;
  return called && !looks_like_a_class(name.substr(name.rfind('.') + 1)) ? Verdict::runs_code
                                                                         : Verdict::needs_classes;
}

}  // namespace transload
