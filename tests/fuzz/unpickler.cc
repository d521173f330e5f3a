// The pickle reader against Python's own unpickler, which is allowed a few harmless names. What both accept is the same tree.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>
#include <unordered_map>

#include "pickle/reader.h"
#include "pickle/rebuild.h"
#include "values/node_table.h"

namespace transload {
namespace {

// The tree as text: containers are numbered where they are met first, so that sharing and cycles show.
constexpr const char* kPython = R"(
import collections, io, math, pickle, struct

class Refused(Exception):
    pass

class Unpickler(pickle._Unpickler):
    ALLOWED = {('collections', 'OrderedDict'): collections.OrderedDict, ('builtins', 'set'): set,
               ('builtins', 'frozenset'): frozenset, ('builtins', 'bytearray'): bytearray,
               ('builtins', 'complex'): complex, ('builtins', 'bytes'): bytes,
               ('__builtin__', 'set'): set, ('__builtin__', 'bytearray'): bytearray}

    def find_class(self, module, name):
        found = self.ALLOWED.get((module, name))
        if found is None:
            raise Refused
        return found

    def persistent_load(self, pid):
        raise Refused

NAMES = {value: 'g%s.%s' % name for name, value in Unpickler.ALLOWED.items() if name[0] != '__builtin__'}

def number(value):
    if isinstance(value, float):
        return 'fnan' if value != value else 'f' + struct.pack('>d', value).hex()
    if -2**63 <= value < 2**63:
        return 'i%d' % value
    nbytes = (value if value >= 0 else -value - 1).bit_length() // 8 + 1
    return 'I' + value.to_bytes(nbytes, 'little', signed=True).hex()

def key(value):
    if type(value) in (bool, int, float) and abs(value) < 2**53 and value == int(value):
        return 'i%d' % value
    return None

class Tree:
    def __init__(self):
        self.seen = {}
        self.nchars = 0

    def text(self, value):
        text = self.of(value)
        self.nchars += len(text)
        if self.nchars > 100000:
            raise Refused
        return text

    def of(self, value):
        kind = type(value)
        if value is None: return 'N'
        if kind is bool: return 'T' if value else 'F'
        if kind in (int, float): return number(value)
        if kind is complex: return 'c' + number(value.real) + number(value.imag)
        if kind is str: return 's' + value.encode('utf-8', 'surrogatepass').hex()
        if kind is bytes: return 'b' + value.hex()
        if kind is bytearray: return 'B' + value.hex()
        if kind is tuple: return '(' + ','.join(map(self.text, value)) + ')'
        if kind in (set, frozenset):
            return kind.__name__ + ','.join(sorted(key(item) or self.text(item) for item in value))
        if kind in (list, dict, collections.OrderedDict):
            if id(value) in self.seen:
                return '#%d' % self.seen[id(value)]
            self.seen[id(value)] = len(self.seen)
            if kind is list:
                return '[' + ','.join(map(self.text, value)) + ']'
            text = 'O{' if kind is collections.OrderedDict else '{'
            text += ','.join((key(k) or self.text(k)) + ':' + self.text(v) for k, v in value.items()) + '}'
            if kind is collections.OrderedDict and value.__dict__:
                text += '@{' + ','.join(self.text(k) + ':' + self.text(v) for k, v in value.__dict__.items()) + '}'
            return text
        if kind is type and value in NAMES: return NAMES[value]
        raise Refused

def tree(data):
    try:
        return Tree().text(Unpickler(io.BytesIO(data), encoding='utf-8').load())
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException:
        return None
)";

struct Refused {};

class Tree {
 public:
  explicit Tree(const NodeTable& nodes) : nodes_(nodes) {}

  std::string text(NodeId node, int depth = 0) {
    if (depth > 150) throw Refused();
    std::string made = of(node, depth);
    nchars_ += made.size();
    if (nchars_ > 100000) throw Refused();
    return made;
  }

 private:
  static std::string hex(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string made;
    for (const char c : bytes) {
      made += digits[static_cast<unsigned char>(c) >> 4];
      made += digits[static_cast<unsigned char>(c) & 15];
    }
    return made;
  }

  static std::string real(double value) {
    if (value != value) return "fnan";
    std::array<char, 8> bytes;
    const auto bits = __builtin_bswap64(std::bit_cast<std::uint64_t>(value));
    std::memcpy(bytes.data(), &bits, 8);
    return "f" + hex({bytes.data(), 8});
  }

  // As Python compares keys: True, 1 and 1.0 are one.
  std::string key(NodeId node, int depth) {
    const ValueKind kind = nodes_.kind(node);
    if (kind == ValueKind::boolean) return nodes_.as_boolean(node) ? "i1" : "i0";
    if (kind == ValueKind::integer || kind == ValueKind::real) {
      const double value = nodes_.as_real(node);
      if (std::abs(value) < 0x1p53 && value == std::floor(value))
        return "i" + std::to_string(static_cast<std::int64_t>(value));
    }
    return text(node, depth + 1);
  }

  std::string joined(std::span<const NodeId> items, int depth) {
    std::string made;
    for (std::size_t i = 0; i < items.size(); ++i)
      made += (i ? "," : "") + text(items[i], depth + 1);
    return made;
  }

  std::string entries(NodeId dict, bool as_keys, int depth) {
    std::string made;
    for (std::size_t i = 0; i < nodes_.entries(dict).size(); i += 2) {
      const NodeId k = nodes_.entries(dict)[i], v = nodes_.entries(dict)[i + 1];
      made += (i ? "," : "") + (as_keys ? key(k, depth) : text(k, depth + 1)) + ":";
      made += text(v, depth + 1);
    }
    return "{" + made + "}";
  }

  std::string of(NodeId node, int depth) {
    const ValueKind kind = nodes_.kind(node);
    switch (kind) {
      case ValueKind::none:
        return "N";
      case ValueKind::boolean:
        return nodes_.as_boolean(node) ? "T" : "F";
      case ValueKind::integer:
        return "i" + std::to_string(nodes_.as_integer(node));
      case ValueKind::big_integer:
        return "I" + hex(nodes_.as_text(node));
      case ValueKind::real:
        return real(nodes_.as_real(node));
      case ValueKind::complex:
        return "c" + real(nodes_.as_complex(node).first) + real(nodes_.as_complex(node).second);
      case ValueKind::text:
        return "s" + hex(nodes_.as_text(node));
      case ValueKind::bytes:
        return "b" + hex(nodes_.as_text(node));
      case ValueKind::bytearray:
        return "B" + hex(nodes_.as_text(node));
      case ValueKind::tuple:
        return "(" + joined(nodes_.items(node), depth) + ")";
      case ValueKind::global: {
        const std::string module(nodes_.module_of(node));
        return "g" + (module == "__builtin__" ? "builtins" : module) + "." +
               std::string(nodes_.name_of(node));
      }
      case ValueKind::set:
      case ValueKind::frozenset: {
        std::set<std::string> items;
        for (const NodeId item : nodes_.items(node)) items.insert(key(item, depth));
        std::string made;
        for (const std::string& item : items) made += (made.empty() ? "" : ",") + item;
        return (kind == ValueKind::set ? "set" : "frozenset") + made;
      }
      case ValueKind::list:
      case ValueKind::dict:
      case ValueKind::ordered_dict: {
        const auto [at, is_new] = seen_.try_emplace(node, seen_.size());
        if (!is_new) return "#" + std::to_string(at->second);
        if (kind == ValueKind::list) return "[" + joined(nodes_.items(node), depth) + "]";
        std::string made =
            (kind == ValueKind::ordered_dict ? "O" : "") + entries(node, true, depth);
        const NodeId attributes = nodes_.attributes(node);
        if (attributes != kNoNode && !nodes_.entries(attributes).empty())
          made += "@" + entries(attributes, false, depth);
        return made;
      }
      default:
        throw Refused();
    }
  }

  const NodeTable& nodes_;
  std::unordered_map<NodeId, std::size_t> seen_;
  std::size_t nchars_ = 0;
};

PyObject* python_tree() {
  Py_InitializeEx(0);
  PyObject* const globals = PyModule_GetDict(PyImport_AddModule("__main__"));
  if (!PyRun_String(kPython, Py_file_input, globals, globals)) {
    PyErr_Print();
    std::abort();
  }
  return PyDict_GetItemString(globals, "tree");
}

}  // namespace
}  // namespace transload

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t nbytes) {
  using namespace transload;
  static PyObject* const tree = python_tree();
  NodeTable nodes;
  Index index;
  std::string ours;
  try {
    const OpenOptions options;
    const std::string where = "fuzz";
    TorchObjects objects(nodes, index, options, where);
    const NodeId root =
        read_pickle(std::as_bytes(std::span(data, nbytes)), nodes, objects, where).root;
    ours = Tree(nodes).text(root);
  } catch (const Error&) {
    return 0;
  } catch (const Refused&) {
    return 0;
  }
  PyObject* const theirs = PyObject_CallFunction(tree, "y#", reinterpret_cast<const char*>(data),
                                                 static_cast<Py_ssize_t>(nbytes));
  if (!theirs) {
    PyErr_Print();
    std::abort();
  }
  if (theirs != Py_None && ours != PyUnicode_AsUTF8(theirs)) {
    std::fprintf(stderr, "ours:     %s\nPython's: %s\n", ours.c_str(), PyUnicode_AsUTF8(theirs));
    std::abort();
  }
  Py_DECREF(theirs);
  return 0;
}
