// Facts: torch/_utils.py, torch/_tensor.py, torch/serialization.py of PyTorch 2.13, and what models of its layers pickle.
#include "pickle/globals.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "pickle/words.h"
#include "transload/dtype.h"

namespace transload {
namespace {

using enum GlobalKind;

// A model holds its activation as a value: these functions compute, and no more.
constexpr std::string_view kActivations =
    "relu relu6 gelu silu mish elu selu celu glu leaky_relu rrelu prelu hardtanh hardswish "
    "hardsigmoid hardshrink softshrink tanhshrink softplus softsign softmax log_softmax "
    "logsigmoid sigmoid tanh threshold normalize mse_loss l1_loss smooth_l1_loss huber_loss "
    "cross_entropy binary_cross_entropy binary_cross_entropy_with_logits nll_loss kl_div "
    "cosine_similarity pairwise_distance dropout interpolate pad linear one_hot embedding "
    "layer_norm batch_norm max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d "
    "adaptive_avg_pool2d erf sin cos exp log sqrt rsqrt square abs neg mean sum max min add sub "
    "mul div matmul";

// Types as annotations have them.
constexpr std::string_view kAnnotations =
    "Any AnyStr Callable ClassVar Collection Container Dict Final FrozenSet Generic Hashable "
    "Iterable Iterator List Literal Mapping MutableMapping MutableSequence MutableSet NoReturn "
    "Optional Sequence Set Sized Text Tuple Type Union";

// The first row that fits counts. The module names of Python 2 and 3, of NumPy 1 and 2.
constexpr GlobalRow kRows[] = {
    // Plain data
    {"collections", "OrderedDict", plain_data, Constructor::ordered_dict},
    {"collections", "Counter defaultdict deque UserDict UserList", plain_data},
    {"UserDict", "IterableUserDict", plain_data},
    {"UserList", "UserList", plain_data},
    {"builtins __builtin__", "set", plain_data, Constructor::set},
    {"builtins __builtin__", "slice list dict int float tuple bool", plain_data},
    {"builtins", "range str", plain_data},
    {"__builtin__", "xrange long unicode", plain_data},
    {"numpy", "ndarray dtype", plain_data},
    {"numpy.core.multiarray numpy._core.multiarray", "scalar _reconstruct", plain_data},
    {"datetime", "datetime timedelta timezone date time", plain_data},
    {"pathlib pathlib._local", "PosixPath PurePosixPath WindowsPath PureWindowsPath", plain_data},
    {"argparse", "Namespace", plain_data},
    {"types", "SimpleNamespace", plain_data},
    {"decimal", "Decimal", plain_data},
    {"fractions", "Fraction", plain_data},
    {"uuid", "UUID", plain_data},
    {"_io io", "BytesIO", plain_data},
    {"torch", "Tensor", plain_data},
    {"torch",
     "per_tensor_affine per_channel_affine per_tensor_symmetric per_channel_symmetric "
     "per_channel_affine_float_qparams",
     plain_data},
    {"torch.serialization", "_get_layout", plain_data, Constructor::layout},
    {"torch.torch_version", "TorchVersion", plain_data},
    {"torch._C", "Generator", plain_data},
    {"torch._utils", "_rebuild_qtensor", plain_data, Constructor::quantized},
    {"torch._utils", "_rebuild_sparse_tensor _rebuild_sparse_csr_tensor", plain_data,
     Constructor::sparse},
    {"torch._utils", "_rebuild_nested_tensor", plain_data, Constructor::nested},
    {"torch._utils", "_rebuild_device_tensor_from_cpu_tensor", plain_data,
     Constructor::device_tensor},
    {"torch._utils",
     "_rebuild_device_tensor_from_numpy _rebuild_xla_tensor _rebuild_wrapper_subclass", plain_data},

    // Made by the reader
    {"torch", "Size", made_by_reader, Constructor::size},
    {"torch", "device", made_by_reader, Constructor::device},
    {"torch._utils", "_rebuild_tensor", made_by_reader, Constructor::tensor_v0},
    {"torch._utils", "_rebuild_tensor_v2", made_by_reader, Constructor::tensor_v2},
    {"torch._utils", "_rebuild_tensor_v3", made_by_reader, Constructor::tensor_v3},
    {"torch._utils", "_rebuild_parameter", made_by_reader, Constructor::parameter},
    {"torch._utils", "_rebuild_parameter_with_state", made_by_reader,
     Constructor::parameter_with_state},
    {"torch._utils", "_rebuild_meta_tensor_no_storage", made_by_reader, Constructor::meta_tensor},
    {"torch._tensor torch.tensor", "_rebuild_from_type_v2", made_by_reader, Constructor::from_type},
    {"torch.nn.parameter", "Parameter", made_by_reader, Constructor::parameter},
    {"torch.autograd.variable", "Variable", made_by_reader, Constructor::variable},
    {"_codecs", "encode", made_by_reader, Constructor::encode},
    {"builtins __builtin__", "bytes", made_by_reader, Constructor::bytes},
    {"builtins __builtin__", "bytearray", made_by_reader, Constructor::bytearray},
    {"builtins __builtin__", "frozenset", made_by_reader, Constructor::frozenset},
    {"builtins __builtin__", "complex", made_by_reader, Constructor::complex},
    {"builtins __builtin__", "Ellipsis", made_by_reader},

    // Makers of an object whose class is an argument, and those of NumPy's values that are not plain data
    {"copyreg copy_reg", "_reconstructor __newobj__", from_arguments, Constructor::new_object},
    {"builtins __builtin__", "object", from_arguments},
    {"numpy.core.numeric numpy._core.numeric", "_frombuffer", from_arguments},
    {"numpy", "bool_ str_ bytes_ datetime64 timedelta64 recarray matrix record chararray poly1d",
     from_arguments},
    {"numpy.ma.core", "_mareconstruct", from_arguments},
    {"numpy.rec", "recarray record", from_arguments},
    {"numpy.char", "chararray", from_arguments},
    {"numpy.lib.polynomial numpy.lib._polynomial_impl", "poly1d", from_arguments},
    {"numpy.random.bit_generator", "__pyx_unpickle_SeedSequence", from_arguments},
    {"numpy.random._pickle", "__randomstate_ctor __generator_ctor __bit_generator_ctor",
     from_arguments},
    {"torch.amp.grad_scaler torch.cuda.amp.grad_scaler", "_refresh_per_optimizer_state",
     from_arguments},
    {"torch.nested._internal.nested_tensor", "_rebuild_njt", from_arguments},
    // restore_type_tag returns its argument, which may be anything.
    {"torch.jit._pickle",
     "restore_type_tag build_intlist build_tensorlist build_doublelist build_boollist", torchscript,
     Constructor::type_tag},
    {"torch.jit._pickle", "build_tensor_from_id", torchscript},

    // Values that a model holds
    {"functools _functools", "partial", wraps_function, Constructor::partial},
    {"builtins __builtin__", "getattr", kept_as_value, Constructor::attribute},
    {"typing collections.abc", kAnnotations, kept_as_value},
    {"torch.nn.functional torch._C._nn", kActivations, kept_as_value},
    {"torch.nn.init",
     "uniform_ normal_ trunc_normal_ constant_ ones_ zeros_ eye_ dirac_ xavier_uniform_ "
     "xavier_normal_ kaiming_uniform_ kaiming_normal_ orthogonal_ sparse_",
     kept_as_value},
    {"torch.optim.swa_utils", "SWALR._cosine_anneal SWALR._linear_anneal", kept_as_value},
    {"torch.optim.lr_scheduler",
     "OneCycleLR._annealing_cos OneCycleLR._annealing_linear CyclicLR._triangular_scale_fn "
     "CyclicLR._triangular2_scale_fn CyclicLR._exp_range_scale_fn",
     kept_as_value},
    {"torch._C", "_VariableFunctionsClass", kept_as_value},
    {"torch", "ScriptObject", needed_class},
    // Names of the past that whole modules of old files hold: they make objects that do nothing.
    {"torch.nn.backends.thnn", "_get_thnn_function_backend", needed_class},
    {"torch.nn.backends.thnn", "THNNFunctionBackend", needed_class},
    {"torch.backends.cudnn.rnn", "Unserializable", needed_class},

    // Code. What makes code or processes does so wherever it is found: a module has all that it imports.
    {"torch._tensor", "_rebuild_from_type", code, Constructor::from_type_old},
    {"*",
     "FunctionType LambdaType CodeType CellType MethodType ModuleType BuiltinFunctionType "
     "WrapperDescriptorType MethodWrapperType GenericAlias Popen CDLL PyDLL WinDLL OleDLL "
     "LibraryLoader CFUNCTYPE PYFUNCTYPE SourceFileLoader SourcelessFileLoader "
     "ExtensionFileLoader ModuleSpec InteractiveInterpreter InteractiveConsole GraphModule "
     "ObservedGraphModule ObservedStandaloneGraphModule QuantizedGraphModule FusedGraphModule "
     "SubprocessHandler ThreadPool ThreadPoolExecutor ProcessPoolExecutor ClientSession "
     "HTTPConnection HTTPSConnection TCPServer HTTPServer XMLRPCServer",
     code},
    // Other packages have harmless classes of these names.
    {"torch.* numpy.*",
     "ABCMeta ExitStack TestCase Graph Node CodeGen Tracer TracerBase Interpreter Library "
     "ExportedProgram",
     code},
};

// Packages that open connections, start processes or run commands: some of their classes do as soon as they are made.
constexpr std::string_view kActingPackages =
    "aiohttp amqp asyncpg asyncssh billiard boto boto3 botocore celery dask distributed docker "
    "eventlet execnet fabric ftputil gevent gdown grpc httplib2 httpx huey invoke kombu "
    "kubernetes ldap3 loky mpi4py multiprocess mysql nmap paramiko pathos pexpect plumbum "
    "psutil psycopg psycopg2 ptyprocess pycurl pymongo pymysql pysftp ray redis requests rpyc "
    "rq s3fs scapy scrapy selenium serial sh smart_open smbclient socketio socks sqlalchemy "
    "tornado twisted urllib3 uvicorn websocket websockets xattr zmq";

std::string_view package_of(std::string_view module) { return module.substr(0, module.find('.')); }

const GlobalRow* find_row(std::string_view module, std::string_view name) {
  const std::string_view last = name.substr(name.rfind('.') + 1);
  const std::string any_below = std::string(package_of(module)) + ".*";
  const auto fits = [&](const GlobalRow& row) {
    return (has_word(row.modules, module) && has_word(row.names, name)) ||
           ((row.modules == "*" || has_word(row.modules, any_below)) && has_word(row.names, last));
  };
  const auto* const row = std::ranges::find_if(kRows, fits);
  return row == std::end(kRows) ? nullptr : row;
}

// "torch.FloatTensor": what old files call a tensor's type
bool is_tensor_class(std::string_view module, std::string_view name) {
  return (module == "torch" || module == "torch.cuda" || module == "torch.sparse") &&
         name.ends_with("Tensor") &&
         dtype_from_storage_class(std::string(name.substr(0, name.size() - 6)) + "Storage");
}

bool is_data_type(std::string_view module, std::string_view name) {
  const auto is_storage = [](std::string_view text) {
    return dtype_from_storage_class(text) || text == "UntypedStorage" || text == "TypedStorage";
  };
  if (module == "torch" || module == "torch.storage" || module == "torch.cuda") {
    if (is_storage(name)) return true;
  }
  if (is_tensor_class(module, name)) return true;
  return (module == "torch" || module == "numpy") && dtype_from_name(name).has_value();
}

// As everybody but the builders of Python's own calls classes: "Linear", "_Inner"; each part of a dotted name.
bool looks_like_a_class(std::string_view name) {
  while (true) {
    const std::string_view part = name.substr(0, name.find('.'));
    const std::size_t first = part.find_first_not_of('_');
    if (first == part.npos || !std::isupper(static_cast<unsigned char>(part[first]))) return false;
    if (part.size() == name.size()) return true;
    name.remove_prefix(part.size() + 1);
  }
}

}  // namespace

std::span<const GlobalRow> global_rows() { return kRows; }

GlobalKind kind_of_global(std::string_view module, std::string_view name) {
  // torch.tanh is a method of this class.
  constexpr std::string_view kFunctions = "_VariableFunctionsClass.";
  if (module == "torch._C" && name.starts_with(kFunctions))
    return kind_of_global("torch._C._nn", name.substr(kFunctions.size()));
  if (const GlobalRow* const row = find_row(module, name)) return row->kind;
  if (is_data_type(module, name)) return data_type;
  if (is_python_module(module)) return code;
  const std::string_view package = package_of(module);
  if (package == "torch" || package == "numpy")
    return is_class_of_models(module, name) ? needed_class : code;
  if (has_word(kActingPackages, package)) return code;
  return looks_like_a_class(name) ? needed_class : unknown_function;
}

Constructor constructor_of(std::string_view module, std::string_view name) {
  if (const GlobalRow* const row = find_row(module, name)) return row->constructor;
  return is_tensor_class(module, name) && module != "torch.sparse" ? Constructor::tensor_class
                                                                   : Constructor::none;
}

Judgement judge_global(std::string_view module, std::string_view name, PickleUse::How how) {
  const bool is_mention = how == PickleUse::How::mention;
  // A name that is only mentioned is refused if it is Python's: a file has ways to get it called, as an attribute of an
  // object that a list is appended to. Models hold functions of torch.
  const Judgement runs_code = {Verdict::runs_code, !is_mention || is_python_module(module)};
  switch (kind_of_global(module, name)) {
    case plain_data:
    case made_by_reader:
    case data_type:
    case from_arguments:
      return {Verdict::plain, false};
    case torchscript:
      return {Verdict::runs_code, false};
    case needed_class:
      return {Verdict::needs_classes, false};
    case kept_as_value:
      return is_mention ? Judgement{Verdict::needs_classes, false} : runs_code;
    case wraps_function:
      if (how == PickleUse::How::make) return runs_code;
      return {Verdict::needs_classes, false};
    case unknown_function:
      return {how == PickleUse::How::make || how == PickleUse::How::set_state
                  ? Verdict::needs_classes
                  : Verdict::runs_code,
              false};
    case code:
      return runs_code;
  }
  return runs_code;
}

Judgement judge_wrapped(std::string_view module, std::string_view name) {
  const bool is_value = kind_of_global(module, name) == kept_as_value;
  const Judgement judgement =
      judge_global(module, name, is_value ? PickleUse::How::mention : PickleUse::How::call);
  return {std::max(judgement.verdict, Verdict::needs_classes), judgement.is_refused};
}

Judgement judge_attribute(std::string_view module, std::string_view name) {
  Judgement judgement = judge_global(module, name, PickleUse::How::mention);
  judgement.is_refused = kind_of_global(module, name) == code;
  return judgement;
}

bool is_method_of_layer(std::string_view module, std::string_view attribute) {
  return module.starts_with("torch.nn.modules.") && !attribute.starts_with("__") &&
         attribute.find('.') == attribute.npos;
}

}  // namespace transload
