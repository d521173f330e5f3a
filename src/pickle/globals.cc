// Facts: torch/_utils.py, torch/serialization.py of PyTorch 2.13; sys.stdlib_module_names of Python 3.11 and what
// Python 2 called them.
#include "pickle/globals.h"

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
    {"collections", "UserDict"},
    {"UserDict", "IterableUserDict"},
    {"collections", "UserList"},
    {"UserList", "UserList"},
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
    {"datetime", "timezone"},
    {"datetime", "date"},
    {"datetime", "time"},
    {"pathlib", "PosixPath"},
    {"pathlib", "PurePosixPath"},
    {"pathlib", "WindowsPath"},
    {"pathlib", "PureWindowsPath"},
    {"pathlib._local", "PosixPath"},
    {"pathlib._local", "PurePosixPath"},
    {"pathlib._local", "WindowsPath"},
    {"pathlib._local", "PureWindowsPath"},
    {"argparse", "Namespace"},
    {"types", "SimpleNamespace"},
    {"decimal", "Decimal"},
    {"fractions", "Fraction"},
    {"uuid", "UUID"},
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
    {"numpy", "bool_"},
    {"numpy", "str_"},
    {"numpy", "bytes_"},
    {"numpy", "datetime64"},
    {"numpy", "timedelta64"},
    {"numpy", "recarray"},
    {"numpy", "matrix"},
    {"numpy.ma.core", "_mareconstruct"},
    {"numpy", "record"},
    {"numpy.rec", "recarray"},
    {"numpy.rec", "record"},
    {"numpy", "chararray"},
    {"numpy.char", "chararray"},
    {"numpy", "poly1d"},
    {"numpy.lib.polynomial", "poly1d"},
    {"numpy.lib._polynomial_impl", "poly1d"},
    {"numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"},
    {"torch.amp.grad_scaler", "_refresh_per_optimizer_state"},
    {"torch.cuda.amp.grad_scaler", "_refresh_per_optimizer_state"},
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

// Python's own modules, all that some version has or had, its installers, and what PyTorch itself brings along. What of
// them is not plain data is used by no checkpoint. sys.stdlib_module_names; _compat_pickle has the names of Python 2,
// which pickle translates; Requires-Dist of the torch package.
constexpr std::string_view kPythonModules =
    " BaseHTTPServer CGIHTTPServer ConfigParser Cookie Dialog DocXMLRPCServer FileDialog "
    "HTMLParser Queue ScrolledText SimpleDialog SimpleHTTPServer SimpleXMLRPCServer SocketServer "
    "StringIO Tix Tkconstants Tkdnd Tkinter UserDict UserList UserString __builtin__ __future__ "
    "__phello__ _abc _abcoll _aix_support _android_support _apple_support _ast _asyncio "
    "_bisect _blake2 _bootsubprocess _bz2 _codecs _codecs_cn _codecs_hk _codecs_iso2022 "
    "_codecs_jp _codecs_kr _codecs_tw _collections _collections_abc _colorize _compat_pickle "
    "_compression _contextvars _crypt _csv _ctypes _ctypes_test _curses _curses_panel _datetime "
    "_dbm _decimal _elementtree _frozen_importlib _frozen_importlib_external _functools _gdbm "
    "_hashlib _heapq _imp _interpchannels _interpqueues _interpreters _io _ios_support _json "
    "_locale _lsprof _lzma _markupbase _md5 _msi _multibytecodec _multiprocessing _opcode "
    "_opcode_metadata _operator _osx_support _overlapped _pickle _posixshmem _posixsubprocess "
    "_py_abc _pydecimal _pyio _pylong _pyrepl _queue _random _remote_debugging _scproxy _sha1 "
    "_sha2 _sha256 _sha3 _sha512 _signal _sitebuiltins _socket _sqlite3 _sre _ssl _stat "
    "_statistics _string _strptime _struct _suggestions _symtable _sysconfig _testbuffer "
    "_testcapi _testimportmultiple _testinternalcapi _testmultiphase _thread _threading_local "
    "_tkinter _tokenize _tracemalloc _typing _uuid _warnings _weakref _weakrefset _winapi _winreg "
    "_xxsubinterpreters _xxtestfuzz _zoneinfo _zstd abc aifc annotationlib antigravity anydbm "
    "argparse array ast asynchat asyncio asyncore atexit audioop base64 bdb binascii bisect "
    "builtins bz2 cPickle cProfile cStringIO calendar cgi cgitb chunk cmath cmd code codecs "
    "codeop collections colorsys commands compileall compression concurrent configparser "
    "contextlib contextvars cookielib copy copy_reg copyreg crypt csv ctypes curses dataclasses "
    "datetime dbhash dbm decimal difflib dis distutils doctest dumbdbm dummy_thread email "
    "encodings ensurepip enum errno exceptions faulthandler fcntl filecmp fileinput fnmatch "
    "fractions ftplib functools gc gdbm genericpath getopt getpass gettext glob graphlib grp gzip "
    "hashlib heapq hmac html htmlentitydefs http httplib idlelib imaplib imghdr imp importlib "
    "inspect io ipaddress itertools json keyword lib2to3 linecache locale logging lzma mailbox "
    "mailcap markupbase marshal math mimetypes mmap modulefinder msilib msvcrt multiprocessing "
    "netrc nis nntplib nt ntpath nturl2path numbers opcode operator optparse os ossaudiodev "
    "pathlib pdb pickle pickletools pip pipes pkg_resources pkgutil platform plistlib poplib "
    "posix posixpath pprint profile pstats pty pwd py_compile pyclbr pydoc pydoc_data pyexpat "
    "queue quopri random re readline repr reprlib resource rlcompleter robotparser runpy sched "
    "secrets select selectors setuptools shelve shlex shutil signal site sitecustomize smtpd "
    "smtplib sndhdr socket socketserver spwd sqlite3 sre_compile sre_constants sre_parse ssl stat "
    "statistics string stringprep struct subprocess sunau symtable sys sysconfig syslog tabnanny "
    "tarfile telnetlib tempfile termios test textwrap this thread threading time timeit "
    "tkColorChooser tkCommonDialog tkFileDialog tkFont tkMessageBox tkSimpleDialog tkinter token "
    "tokenize tomllib trace traceback tracemalloc ttk tty turtle turtledemo types typing "
    "unicodedata unittest urllib urllib2 urlparse usercustomize uu uuid venv warnings wave "
    "weakref webbrowser whichdb winreg winsound wsgiref xdrlib xml xmlrpc xmlrpclib "
    "xxlimited xxsubtype zipapp zipfile zipimport zlib zoneinfo "
    "_distutils_hack _pytest filelock fsspec functorch jinja2 markupsafe mpmath networkx pluggy py "
    "pytest sympy torchgen triton ";

template <std::size_t n>
bool is_in(const PlainName (&list)[n], std::string_view module, std::string_view name) {
  return std::any_of(std::begin(list), std::end(list),
                     [&](const PlainName& p) { return p.module == module && p.name == name; });
}

std::string_view package(std::string_view module) { return module.substr(0, module.find('.')); }

bool is_data_type(std::string_view module, std::string_view name) {
  const bool storage =
      dtype_from_storage_class(name) || name == "UntypedStorage" || name == "TypedStorage";
  if (storage && (module == "torch" || module == "torch.storage" || module == "torch.cuda"))
    return true;
  // "torch.FloatTensor": what old files call a tensor's type
  if ((module == "torch" || module == "torch.cuda" || module == "torch.sparse") &&
      name.ends_with("Tensor"))
    return dtype_from_storage_class(std::string(name.substr(0, name.size() - 6)) + "Storage")
        .has_value();
  return (module == "torch" || module == "numpy") && dtype_from_name(name).has_value();
}

// As classes are called, by everybody but the builders of Python's own: "Linear", "_Inner"; of a dotted name each part.
bool looks_like_a_class(std::string_view name) {
  while (true) {
    const std::string_view part = name.substr(0, name.find('.'));
    const std::size_t first = part.find_first_not_of('_');
    if (first == std::string_view::npos || !std::isupper(static_cast<unsigned char>(part[first])))
      return false;
    if (part.size() == name.size()) return true;
    name.remove_prefix(part.size() + 1);
  }
}

// Modules of PyTorch and NumPy whose classes are what checkpoints and whole models hold. Others have some that open what
// they are given (a torch.PyTorchFileWriter empties a file, a torch.distributed.TCPStore connects), or lead to Python's
// own under another name.
constexpr std::string_view kModelModules[] = {"torch.nn.",
                                              "torch.optim.",
                                              "torch.ao.nn.",
                                              "torch.ao.quantization.observer",
                                              "torch.ao.quantization.fake_quantize",
                                              "torch.ao.quantization.stubs",
                                              "torch.ao.quantization.qconfig",
                                              "torch.quantization.",
                                              "torch.distributions.",
                                              "torch.distributed.checkpoint.metadata",
                                              "torch.distributed.checkpoint.filesystem",
                                              "torch.distributed.tensor",
                                              "torch.distributed._tensor",
                                              "torch.distributed.fsdp",
                                              "torch.distributed._shard",
                                              "torch.distributed.device_mesh",
                                              "torch.utils.hooks",
                                              "torch.utils.data.dataset",
                                              "torch.utils.data.sampler",
                                              "torch.utils.data.dataloader",
                                              "torch.utils.data.distributed",
                                              "torch.nested._internal.nested_tensor",
                                              "torch._dynamo.decorators",
                                              "torch.amp.",
                                              "torch.cuda.amp.",
                                              "numpy.random.",
                                              "numpy.dtypes",
                                              "numpy.ma.core",
                                              "numpy.ma.mrecords",
                                              "numpy.polynomial."};

// What makes code or processes, wherever it is found: modules have what they import.
constexpr std::string_view kMakersOfCode =
    " FunctionType LambdaType CodeType CellType MethodType ModuleType BuiltinFunctionType "
    "WrapperDescriptorType MethodWrapperType GenericAlias Popen CDLL PyDLL WinDLL OleDLL "
    "LibraryLoader CFUNCTYPE PYFUNCTYPE SourceFileLoader SourcelessFileLoader ExtensionFileLoader "
    "ModuleSpec InteractiveInterpreter InteractiveConsole GraphModule ObservedGraphModule "
    "ObservedStandaloneGraphModule QuantizedGraphModule FusedGraphModule SubprocessHandler ";
// The same of names that other packages have for what is harmless: only in modules of PyTorch and NumPy.
constexpr std::string_view kMakersOfPrograms =
    " ABCMeta ExitStack TestCase Graph Node CodeGen Tracer TracerBase Interpreter Library "
    "ExportedProgram ";

// A model holds its activation: these functions are kept, and no more than compute if they are called.
constexpr std::string_view kActivations =
    " relu relu6 gelu silu mish elu selu celu glu leaky_relu rrelu prelu hardtanh hardswish "
    "hardsigmoid hardshrink softshrink tanhshrink softplus softsign softmax log_softmax logsigmoid "
    "sigmoid tanh threshold normalize mse_loss l1_loss smooth_l1_loss huber_loss cross_entropy "
    "binary_cross_entropy binary_cross_entropy_with_logits nll_loss kl_div cosine_similarity "
    "pairwise_distance dropout interpolate pad linear one_hot embedding layer_norm batch_norm "
    "max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d "
    "erf sin cos exp log sqrt rsqrt square abs neg mean sum max min add sub mul div matmul ";

// Types as annotations have them: typing, collections.abc.
constexpr std::string_view kAnnotations =
    " Any AnyStr Callable ClassVar Collection Container Dict Final FrozenSet Generic Hashable "
    "Iterable Iterator List Literal Mapping MutableMapping MutableSequence MutableSet NoReturn "
    "Optional Sequence Set Sized Text Tuple Type Union ";

bool is_word(std::string_view words, std::string_view word) {
  return words.find(" " + std::string(word) + " ") != std::string_view::npos;
}

bool is_activation(std::string_view module, std::string_view name) {
  constexpr std::string_view kClass = "_VariableFunctionsClass.";  // that of torch.tanh
  if (module == "torch._C" && name.starts_with(kClass))
    return is_word(kActivations, name.substr(kClass.size()));
  if (module == "torch.nn.init") return name.ends_with('_') && !name.starts_with('_');
  return (module == "torch.nn.functional" || module == "torch._C._nn") &&
         is_word(kActivations, name);
}

// A method of an optimizer or scheduler, which one of them holds: "SWALR._cosine_anneal".
bool is_method(std::string_view module, std::string_view name) {
  const std::size_t dot = name.find('.');
  return module.starts_with("torch.optim.") && dot != name.npos &&
         name.find('.', dot + 1) == name.npos && looks_like_a_class(name.substr(0, dot)) &&
         !name.substr(dot + 1).starts_with("__");
}

// torch.return_types.max, and the like: tuples with names.
bool is_return_type(std::string_view module, std::string_view name) {
  return module == "torch.return_types" && name.find('.') == name.npos;
}

}  // namespace

bool is_plain_data(std::string_view module, std::string_view name) {
  return is_in(kPlainNames, module, name);
}

bool is_getattr(std::string_view module, std::string_view name) {
  return (module == "builtins" || module == "__builtin__") && name == "getattr";
}

bool is_of_python(std::string_view module) { return is_word(kPythonModules, package(module)); }

bool runs_code(std::string_view module, std::string_view name, PickleUse::How how) {
  if (is_plain_data(module, name) || is_in(kMadeNames, module, name) ||
      is_in(kMakers, module, name) || is_data_type(module, name))
    return false;
  const std::string_view last = name.substr(name.rfind('.') + 1);
  const bool is_mention = how == PickleUse::How::mention;
  const bool is_annotation =
      (module == "typing" || module == "collections.abc") && is_word(kAnnotations, name);
  if (is_mention && (is_getattr(module, name) || is_annotation)) return false;
  if (is_of_python(module) || is_word(kMakersOfCode, last)) return true;
  if (package(module) != "torch" && package(module) != "numpy") return false;
  if (is_word(kMakersOfPrograms, last)) return true;
  if (is_return_type(module, name)) return false;
  if (is_mention && (is_activation(module, name) || is_method(module, name))) return false;
  // Functions, of which there are some that load whole files; and the way through an attribute: "Size.mro".
  if (!looks_like_a_class(name)) return true;
  const std::string whole = std::string(module) + ".";
  const bool is_of_models =
      (module == "torch" && name == "ScriptObject") ||
      (is_mention && module == "torch._C" && name == "_VariableFunctionsClass") ||
      std::ranges::any_of(kModelModules,
                          [&](std::string_view begin) { return whole.starts_with(begin); });
  return !is_of_models;
}

Verdict verdict_of(std::string_view module, std::string_view name, PickleUse::How how) {
  if (is_plain_data(module, name) || is_in(kMadeNames, module, name) || is_data_type(module, name))
    return Verdict::plain;
  // TorchScript's, which is a program: restore_type_tag gives what it is given, whatever that is.
  if (runs_code(module, name, how) || module == "torch.jit._pickle") return Verdict::runs_code;
  if (is_in(kMakers, module, name)) return Verdict::plain;
  // Not known. A class is needed. A function is called by whoever gets hold of it, and the way through an attribute leads
  // anywhere.
  const bool is_class = looks_like_a_class(name) || is_getattr(module, name) ||
                        is_method(module, name) || is_return_type(module, name) ||
                        is_activation(module, name);
  return is_class || how == PickleUse::How::make ? Verdict::needs_classes : Verdict::runs_code;
}

}  // namespace transload
