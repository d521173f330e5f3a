// A bare pickle, as pickle.dump writes it: state dicts, and the model zoos whose weights are NumPy arrays. Read only.
//
//   the whole file is one pickle of protocol 0 to 5
//   tensors     torch._utils._rebuild_tensor_v2(torch.storage._load_from_bytes(stream), …): each storage is a whole legacy stream
//   arrays      numpy.core.multiarray._reconstruct(numpy.ndarray, …), then BUILD (1, shape, dtype, is_fortran, bytes); in protocol
//               5 numpy._core.numeric._frombuffer(bytes, dtype, shape, order). They become tensors if the dtype is a number
//
// The bytes of both lie inside the pickle, some of them encoded: they are put into a file in memory, one after the other.
//
// Sources: torch/storage.py, __reduce__; numpy/_core/src/multiarray/methods.c, array_reduce and array_setstate;
// docs/formats/pickle.md.
#include <algorithm>
#include <memory>

#include "format/format.h"
#include "format/numpy_dtypes.h"
#include "format/torch_stream.h"
#include "io/file.h"
#include "pickle/rebuild.h"
#include "pickle/whole_pickle.h"
#include "transload/error.h"
#include "types/checked.h"
#include "values/modules.h"

namespace transload {
namespace {

constexpr std::uint32_t kMemoryFile = 1;  // number of the file in memory; 0 is the pickle

class PickleFileObjects final : public TorchObjects {
 public:
  // most_nbytes: of arrays and streams; more would mean that they share their bytes.
  PickleFileObjects(NodeTable& nodes, Index& index, const OpenOptions& options,
                    const std::string& where, std::uint64_t most_nbytes)
      : TorchObjects(nodes, index, options, where),
        nodes_(nodes),
        index_(index),
        options_(options),
        where_(where),
        left_nbytes_(most_nbytes) {}

  NodeId call(NodeId callable, NodeId arguments, Made made) override {
    if (made == Made::by_call && is(callable, ValueKind::global)) {
      const std::vector<NodeId> a(nodes_.items(arguments).begin(), nodes_.items(arguments).end());
      if (is_name(callable, "torch.storage", "_load_from_bytes") && a.size() == 1 &&
          has_bytes(a[0]))
        return load_stream(a[0]);
      if (is_name(callable, "numpy._core.numeric", "_frombuffer") ||
          is_name(callable, "numpy.core.numeric", "_frombuffer")) {
        if (const NodeId array = make_from_buffer(a); array != kNoNode) return array;
      }
    }
    return TorchObjects::call(callable, arguments, made);
  }

  NodeId persistent(NodeId) override {
    throw FormatError("a bare pickle has a persistent id, which only files of torch.save explain");
  }

  void build(NodeId target, NodeId state) override {
    if (is_empty_array(target)) {
      if (const NodeId array = make_array(state); array != kNoNode)
        return nodes_.become(target, array);
    }
    TorchObjects::build(target, state);
  }

  std::string take_memory() { return std::move(memory_); }

 private:
  bool is(NodeId node, ValueKind kind) const { return nodes_.kind(node) == kind; }
  // Python 2's str comes as a text if it happens to be UTF-8.
  bool has_bytes(NodeId node) const {
    return is(node, ValueKind::bytes) || is(node, ValueKind::bytearray) ||
           is(node, ValueKind::text);
  }
  bool is_name(NodeId node, std::string_view module, std::string_view name) const {
    return is(node, ValueKind::global) && nodes_.name_of(node) == name &&
           nodes_.module_of(node) == module;
  }
  // An object that a call of numpy's names made.
  bool is_call_of(NodeId object, std::string_view module, std::string_view name) const {
    return is(object, ValueKind::object) && is_name(nodes_.items(object)[kCallable], module, name);
  }
  bool is_empty_array(NodeId node) const {
    return (is_call_of(node, "numpy.core.multiarray", "_reconstruct") ||
            is_call_of(node, "numpy._core.multiarray", "_reconstruct")) &&
           !nodes_.items(nodes_.items(node)[kArguments]).empty() &&
           is_name(nodes_.items(nodes_.items(node)[kArguments])[0], "numpy", "ndarray");
  }

  // Appends to the file in memory and returns the offset there.
  std::uint64_t keep(std::string_view bytes) {
    constexpr std::uint64_t kAlignment = 64;
    if (bytes.size() > left_nbytes_)
      throw FormatError("the arrays have more bytes than the file: several share theirs");
    left_nbytes_ -= bytes.size();
    memory_.resize(round_up(memory_.size(), kAlignment));
    memory_ += bytes;
    return memory_.size() - bytes.size();
  }

  // A storage that was pickled by itself: a legacy stream whose value is the storage. Its pickle is read as any other of a
  // stream, so that no stream lies within it.
  NodeId load_stream(NodeId bytes) {
    const std::string stream(nodes_.as_text(bytes));
    if (!is_torch_stream(stream))
      throw UnsupportedError(
          where_ + ": torch.storage._load_from_bytes has bytes that are not a legacy stream");
    const std::uint64_t begin = keep(stream);
    const File file = file_in_memory(where_ + ": a storage", stream);
    StreamReader(file, kMemoryFile, begin, nodes_, index_, options_).read();
    return nodes_.root;
  }

  struct ArrayType {
    Dtype dtype;
    bool is_big_endian;
  };

  // numpy.dtype("f4", False, True) with the state (3, "<", None, None, None, …). Nothing: not a number.
  std::optional<ArrayType> type_of(NodeId dtype) const {
    if (!is_call_of(dtype, "numpy", "dtype")) return std::nullopt;
    const auto a = nodes_.items(nodes_.items(dtype)[kArguments]);
    if (a.empty() || !has_bytes(a[0])) return std::nullopt;
    const auto found = dtype_from_numpy(nodes_.as_text(a[0]));
    if (!found) return std::nullopt;
    const NodeId state = nodes_.attributes(dtype);
    if (state == kNoNode) return ArrayType{*found, false};
    if (!is(state, ValueKind::tuple) || nodes_.items(state).size() < 5) return std::nullopt;
    const auto s = nodes_.items(state);
    const bool is_plain = has_bytes(s[1]) && is(s[2], ValueKind::none) &&
                          is(s[3], ValueKind::none) && is(s[4], ValueKind::none);
    if (!is_plain) return std::nullopt;
    return ArrayType{*found, nodes_.as_text(s[1]) == ">"};
  }

  // (1, shape, dtype, is_fortran, bytes); version 0 lacks the first. kNoNode: not an array of numbers.
  NodeId make_array(NodeId state) {
    if (!is(state, ValueKind::tuple)) return kNoNode;
    const std::vector<NodeId> s(nodes_.items(state).begin(), nodes_.items(state).end());
    if (s.size() != 5 || !is(s[1], ValueKind::tuple) || !has_bytes(s[4])) return kNoNode;
    const bool is_flag = is(s[3], ValueKind::boolean) || is(s[3], ValueKind::integer);
    const auto type = type_of(s[2]);
    if (!type || !is_flag) return kNoNode;
    const bool is_fortran =
        is(s[3], ValueKind::boolean) ? nodes_.as_boolean(s[3]) : nodes_.as_integer(s[3]) != 0;
    return add_array(*type, s[1], is_fortran, s[4]);
  }

  // (bytes, dtype, shape, "C" or "F"). kNoNode: not an array of numbers.
  NodeId make_from_buffer(std::span<const NodeId> a) {
    if (a.size() < 4 || !has_bytes(a[0]) || !is(a[2], ValueKind::tuple) ||
        !is(a[3], ValueKind::text))
      return kNoNode;
    const auto type = type_of(a[1]);
    return type ? add_array(*type, a[2], nodes_.as_text(a[3]) == "F", a[0]) : kNoNode;
  }

  NodeId add_array(const ArrayType& type, NodeId shape_node, bool is_fortran, NodeId bytes) {
    const Dims shape = dims_of(nodes_, shape_node, "the array's shape");
    std::uint64_t nbytes = itemsize(type.dtype);
    for (const std::int64_t size : shape)
      nbytes = checked_mul(nbytes, static_cast<std::uint64_t>(size), "the array's size");
    const std::string elements(nodes_.as_text(bytes));
    if (elements.size() != nbytes) {
      throw FormatError("the array needs " + std::to_string(nbytes) + " bytes, but has " +
                        std::to_string(elements.size()));
    }
    std::vector<std::int64_t> stride(shape.size());
    std::int64_t step = 1;  // of no elements the sizes may be any
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const std::size_t d = is_fortran ? i : shape.size() - 1 - i;
      stride[d] = step;
      if (nbytes > 0) step *= shape[d];
    }
    const auto number = static_cast<std::uint32_t>(index_.storages.size());
    const std::uint8_t swap_nbytes = type.is_big_endian ? info(type.dtype).swap_nbytes : 1;
    index_.storages.push_back(
        {nbytes, location_of_cpu(), swap_nbytes, type.dtype, "array" + std::to_string(number)});
    if (nbytes > 0)
      index_.pieces.push_back({number, 0, nbytes, {kMemoryFile, keep(elements), nbytes}});
    TensorRow row;
    row.storage = number;
    row.dtype = type.dtype;
    return nodes_.tensor(row, {shape.begin(), shape.size()}, stride);
  }

  std::uint32_t location_of_cpu() {
    const auto found = std::ranges::find(index_.locations, "cpu");
    const auto number = static_cast<std::uint32_t>(found - index_.locations.begin());
    if (found == index_.locations.end()) index_.locations.push_back("cpu");
    return number;
  }

  NodeTable& nodes_;
  Index& index_;
  const OpenOptions& options_;
  const std::string& where_;
  std::uint64_t left_nbytes_;
  std::string memory_;
};

// The bytes of a file that is one pickle from its first byte to its last; empty if it is not.
std::string whole_pickle(Opened& opened) {
  if (opened.is_folder() || opened.head().empty()) return "";
  try {
    std::string bytes = read_whole_pickle(opened.file(), 0, opened.nbytes(), "the pickle");
    return bytes.size() == opened.nbytes() ? bytes : "";
  } catch (const FormatError&) {
    return "";
  }
}

Index read(Opened& opened, const OpenOptions& options) {
  const std::string bytes = whole_pickle(opened);
  Index index;
  index.format = "pickle";
  index.files.push_back(opened.file());
  const auto nodes = std::make_shared<NodeTable>();
  nodes->reserve_for_pickle(bytes.size());
  PickleFileObjects objects(*nodes, index, options, opened.name(), bytes.size());
  const NodeId root =
      read_pickle(std::as_bytes(std::span(bytes)), *nodes, objects, opened.name()).root;
  nodes->root = root;
  const ValueKind kind = nodes->kind(root);
  if (kind == ValueKind::integer || kind == ValueKind::big_integer) {
    throw FormatError(
        opened.name() +
        ": a bare pickle of an int, which is not a model: the magic number of another "
        "format, perhaps");
  }
  if (nodes->kind(root) == ValueKind::object &&
      nodes->module_of(nodes->items(root)[kCallable]).starts_with("torch.distributed.checkpoint")) {
    throw UnsupportedError(
        opened.name() +
        ": this is the metadata of a torch.distributed.checkpoint, which is not read; python -m "
        "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE makes it one file");
  }
  add_state_dicts(*nodes);
  index.files.push_back(file_in_memory(opened.name(), objects.take_memory()));
  index.contents = StateDict(nodes, meta_storages(index));
  return index;
}

// Any text may happen to be a pickle of protocol 0: such a file has to make sense as one, and to hold other values.
bool recognizes(Opened& opened) {
  if (whole_pickle(opened).empty()) return false;
  if (opened.head().starts_with("\x80")) return true;
  try {
    const Index index = read(opened, {.keep_calls = true});
    return index.contents.root().is_dict() || !index.storages.empty() ||
           index.contents.root().is(ValueKind::object) || index.contents.root().is(ValueKind::list);
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

const Format kPickle{"pickle", recognizes, read};

}  // namespace transload
