// Facts: torch/_utils.py, torch/serialization.py of PyTorch 2.13; docs/formats/torch_zip.md lists them.
#include "pickle/rebuild.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "pickle/globals.h"
#include "types/checked.h"

namespace transload {
namespace {

constexpr std::size_t kMaxArguments = 16;  // more than any function has that is known here

std::string dotted(std::string_view module, std::string_view name) {
  return std::string(module) + "." + std::string(name);
}

}  // namespace

NodeId TorchObjects::global(std::string_view module, std::string_view name) {
  if (module == "torch") {
    if (const auto dtype = dtype_from_name(name)) return nodes_.dtype(*dtype);
  }
  // What a file holds it can have called: as the attribute of an object by which a list is appended to, for example.
  if (is_of_python(module)) refuse_code(module, name, PickleUse::How::mention);
  return nodes_.global(module, name);
}

TorchObjects::Known TorchObjects::known(NodeId callable) {
  const auto [at, is_new] = known_.try_emplace(callable, Known::nothing);
  if (!is_new) return at->second;
  if (nodes_.kind(callable) != ValueKind::global) return Known::nothing;
  const std::string_view module = nodes_.module_of(callable), name = nodes_.name_of(callable);
  const bool builtin = module == "builtins" || module == "__builtin__";
  Known found = Known::nothing;
  if (module == "torch._utils") {
    if (name == "_rebuild_tensor_v2") found = Known::tensor_v2;
    if (name == "_rebuild_tensor_v3") found = Known::tensor_v3;
    if (name == "_rebuild_tensor") found = Known::tensor_v0;
    if (name == "_rebuild_parameter") found = Known::parameter;
    if (name == "_rebuild_parameter_with_state") found = Known::parameter_with_state;
    if (name == "_rebuild_meta_tensor_no_storage") found = Known::meta_tensor;
  } else if (module == "torch") {
    if (name == "Size") found = Known::size;
    if (name == "device") found = Known::device;
  } else if (builtin) {
    if (name == "bytes") found = Known::bytes;
    if (name == "bytearray") found = Known::bytearray;
    if (name == "set") found = Known::set;
    if (name == "frozenset") found = Known::frozenset;
    if (name == "complex") found = Known::complex;
  } else if (module == "collections" && name == "OrderedDict") {
    found = Known::ordered_dict;
  } else if (module == "_codecs" && name == "encode") {
    found = Known::encode;
  } else if (module == "torch._tensor" && name == "_rebuild_from_type_v2") {
    found = Known::from_type;
  } else if (module == "torch.nn.parameter" && name == "Parameter") {
    found = Known::parameter;
  }
  return at->second = found;
}

std::uint32_t TorchObjects::location_number(NodeId location) {
  if (location == last_location_) return last_location_number_;
  const std::string text(nodes_.as_text(location));
  const auto next = static_cast<std::uint32_t>(index_.locations.size());
  const auto [at, is_new] = location_numbers_.try_emplace(text, next);
  if (is_new) index_.locations.push_back(text);
  last_location_ = location;
  return last_location_number_ = at->second;
}

Dtype TorchObjects::dtype_of_class(NodeId storage_class, std::string_view key) {
  if (storage_class == last_class_) return last_dtype_;
  const std::string_view module = nodes_.module_of(storage_class),
                         name = nodes_.name_of(storage_class);
  const auto dtype = name == "UntypedStorage" ? Dtype::uint8 : dtype_from_storage_class(name);
  if (!dtype || (module != "torch" && module != "torch.storage" && module != "torch.cuda")) {
    throw FormatError("storage \"" + std::string(key) + "\" is of class " + dotted(module, name) +
                      ", which is no storage class of torch");
  }
  last_class_ = storage_class;
  return last_dtype_ = *dtype;
}

// Of the storage with this key; of a new one the next.
std::uint32_t TorchObjects::number_of(std::string_view key) {
  const auto next = static_cast<std::uint32_t>(index_.storages.size());
  if (keys_are_numbers_) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
    const bool is_number = error == std::errc() && end == key.data() + key.size() &&
                           (key[0] != '0' || key.size() == 1);
    if (is_number && number <= next) return number;
    keys_are_numbers_ = false;
    numbers_.reserve(index_.storages.capacity());
    for (std::uint32_t i = 0; i < next; ++i)
      numbers_.add(std::hash<std::string_view>()(index_.storages[i].key), i);
  }
  const auto is_it = [&](std::uint32_t known) { return index_.storages[known].key == key; };
  const auto* const known = numbers_.find_or_add(std::hash<std::string_view>()(key), is_it, next);
  return known ? *known : next;
}

// ("storage", storage class, key, location, numel): torch/serialization.py, persistent_load.
NodeId TorchObjects::persistent(NodeId id) {
  const auto is = [&](NodeId node, ValueKind kind) { return nodes_.kind(node) == kind; };
  if (!is(id, ValueKind::tuple)) throw FormatError("a persistent id that is no tuple");
  const auto parts = nodes_.items(id);
  if (parts.size() != 5 || !is(parts[0], ValueKind::text) ||
      nodes_.as_text(parts[0]) != "storage" || !is(parts[1], ValueKind::global) ||
      !is(parts[2], ValueKind::text) || !is(parts[3], ValueKind::text) ||
      !is(parts[4], ValueKind::integer)) {
    throw FormatError(
        "a persistent id that is not (\"storage\", class, key, location, number of elements)");
  }
  const std::string_view key = nodes_.as_text(parts[2]);
  const Dtype dtype = dtype_of_class(parts[1], key);
  const std::int64_t count = nodes_.as_integer(parts[4]);
  if (count < 0)
    throw FormatError("storage \"" + std::string(key) + "\" of " + std::to_string(count) +
                      " elements");
  const std::uint64_t nbytes =
      checked_mul(static_cast<std::uint64_t>(count), itemsize(dtype), "a storage's size");
  const std::uint32_t number = number_of(key);
  if (number == index_.storages.size()) {
    index_.storages.push_back(
        {nbytes, location_number(parts[3]), info(dtype).swap_nbytes, dtype, std::string(key)});
  }
  const StoredStorage& first = index_.storages[number];
  if (first.nbytes != nbytes || first.dtype != dtype) {
    throw FormatError("storage \"" + std::string(key) + "\" is mentioned as " +
                      std::string(name(dtype)) + " of " + std::to_string(nbytes) +
                      " bytes, and before as " + std::string(name(first.dtype)) + " of " +
                      std::to_string(first.nbytes));
  }
  return nodes_.storage(number, dtype, static_cast<std::uint64_t>(count));
}

Dims TorchObjects::dims(NodeId node, const char* what) const {
  // torch allows no more: c10/core/TensorImpl.h, and numpy's limit
  constexpr std::size_t kMaxDimensions = 64;
  const ValueKind kind = nodes_.kind(node);
  if (kind != ValueKind::tuple && kind != ValueKind::size) {
    throw FormatError(std::string("a tensor's ") + what + " is no tuple");
  }
  const auto items = nodes_.items(node);
  if (items.size() > kMaxDimensions)
    throw FormatError("a tensor of " + std::to_string(items.size()) + " dimensions");
  std::array<std::int64_t, kMaxDimensions> values;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (nodes_.kind(items[i]) != ValueKind::integer)
      throw FormatError(std::string("a tensor's ") + what + " holds what is no int");
    values[i] = nodes_.as_integer(items[i]);
    if (values[i] < 0)
      throw FormatError(std::string("a tensor's ") + what + " holds " + std::to_string(values[i]));
  }
  return Dims(std::span<const std::int64_t>(values.data(), items.size()));
}

bool TorchObjects::truth(NodeId node, const char* what) const {
  if (nodes_.kind(node) != ValueKind::boolean)
    throw FormatError(std::string("a tensor's ") + what + " is no bool");
  return nodes_.as_boolean(node);
}

NodeId TorchObjects::make_tensor(std::span<const NodeId> a, Known function) {
  const std::size_t least = function == Known::tensor_v0 ? 4 : function == Known::tensor_v2 ? 6 : 7;
  if (a.size() < least || a.size() > least + (function == Known::tensor_v0 ? 0 : 1)) {
    throw FormatError("a tensor made of " + std::to_string(a.size()) + " parts, expected " +
                      std::to_string(least));
  }
  if (nodes_.kind(a[0]) != ValueKind::storage)
    throw FormatError("a tensor over what is no storage");
  if (nodes_.kind(a[1]) != ValueKind::integer)
    throw FormatError("a tensor whose storage offset is no int");
  TensorRow row;
  row.storage = nodes_.storage_number(a[0]);
  row.dtype = nodes_.as_dtype(a[0]);
  row.storage_offset = nodes_.as_integer(a[1]);
  if (function != Known::tensor_v0) row.requires_grad = truth(a[4], "requires_grad");
  StoredStorage& storage = index_.storages[row.storage];
  if (function == Known::tensor_v3) {
    if (nodes_.kind(a[6]) != ValueKind::dtype) throw FormatError("a tensor whose dtype is none");
    row.dtype = nodes_.as_dtype(a[6]);
    // Such a storage is saved as bytes; its byte order is that of the tensor's elements.
    storage.swap_nbytes = std::max(storage.swap_nbytes, info(row.dtype).swap_nbytes);
  }
  if (a.size() > least && nodes_.kind(a[least]) != ValueKind::none) {
    if (!is_dict(nodes_.kind(a[least]))) throw FormatError("a tensor whose metadata is no dict");
    const auto bit = [&](std::string_view name) {
      const NodeId value = nodes_.find(a[least], name);
      return value != kNoNode && truth(value, "conj or neg bit");
    };
    row.conj = bit("conj");
    row.neg = bit("neg");
  }
  const Dims shape = dims(a[2], "shape"), stride = dims(a[3], "stride");
  try {
    Tensor(Storage(kMeta, nullptr, storage.nbytes, nullptr), row.dtype, shape, stride,
           row.storage_offset);
  } catch (const Error& error) {
    throw FormatError(std::string(error.what()) + " (storage \"" + storage.key + "\")");
  }
  return nodes_.tensor(row, {shape.begin(), shape.size()}, {stride.begin(), stride.size()});
}

// (dtype, shape, stride, requires_grad)
NodeId TorchObjects::make_meta_tensor(std::span<const NodeId> a) {
  if (a.size() != 4 || nodes_.kind(a[0]) != ValueKind::dtype)
    throw FormatError("a meta tensor without a dtype");
  TensorRow row;
  row.dtype = nodes_.as_dtype(a[0]);
  row.requires_grad = truth(a[3], "requires_grad");
  const Dims shape = dims(a[1], "shape"), stride = dims(a[2], "stride");
  try {
    Tensor(Storage(kMeta, nullptr, ~std::uint64_t{0}, nullptr), row.dtype, shape, stride);
  } catch (const Error& error) {
    throw FormatError(error.what());
  }
  return nodes_.tensor(row, {shape.begin(), shape.size()}, {stride.begin(), stride.size()});
}

// (tensor, requires_grad, hooks): the tensor as it stands elsewhere stays what it was.
NodeId TorchObjects::make_parameter(std::span<const NodeId> a) {
  if (a.empty() || nodes_.kind(a[0]) != ValueKind::tensor)
    throw FormatError("a Parameter of what is no tensor");
  TensorRow row = nodes_.row(a[0]);
  row.is_parameter = true;
  row.requires_grad = a.size() < 2 || truth(a[1], "requires_grad");
  const Dims shape(nodes_.shape(a[0])), stride(nodes_.stride(a[0]));
  return nodes_.tensor(row, {shape.begin(), shape.size()}, {stride.begin(), stride.size()});
}

// Attributes of a tensor: a dict, or (a dict, slots). torch/_utils.py, _set_obj_state, sets each: one that a Tensor has of
// its own would be another tensor then.
void TorchObjects::set_state(NodeId tensor, NodeId state) {
  if (nodes_.kind(state) == ValueKind::tuple && nodes_.items(state).size() == 2 &&
      nodes_.kind(nodes_.items(state)[1]) == ValueKind::none)
    state = nodes_.items(state)[0];
  const ValueKind kind = nodes_.kind(state);
  if (kind == ValueKind::none || (kind == ValueKind::tuple && nodes_.items(state).empty())) return;
  if (kind != ValueKind::dict)
    throw FormatError("a tensor whose state is a value of kind " + std::string(name(kind)) +
                      ", expected a dict of attributes");
  const auto entries = nodes_.entries(state);
  for (std::size_t i = 0; i < entries.size(); i += 2) {
    const std::string_view key =
        nodes_.kind(entries[i]) == ValueKind::text ? nodes_.as_text(entries[i]) : "__";
    constexpr std::string_view kOwn[] = {"data", "grad", "_grad", "requires_grad",
                                         "real", "imag", "names", "_backward_hooks"};
    if (key.starts_with("__") || std::ranges::find(kOwn, key) != std::end(kOwn))
      throw FormatError("a tensor with an attribute \"" + std::string(key) +
                        "\", which would replace what it is");
  }
  if (entries.empty()) return;
  // As they are now: what the dict gets later is no attribute.
  const std::vector<NodeId> now(entries.begin(), entries.end());
  const NodeId own = nodes_.container(ValueKind::dict);
  for (std::size_t i = 0; i < now.size(); i += 2) nodes_.set(own, now[i], now[i + 1]);
  nodes_.set_attributes(tensor, own);
}

// _codecs.encode(text, "latin1"): how protocol 2 writes bytes.
NodeId TorchObjects::encode(std::span<const NodeId> a) {
  if (a.size() != 2 || nodes_.kind(a[0]) != ValueKind::text ||
      nodes_.kind(a[1]) != ValueKind::text ||
      (nodes_.as_text(a[1]) != "latin1" && nodes_.as_text(a[1]) != "latin-1")) {
    throw FormatError("bytes that are not a text encoded as latin1");
  }
  const std::string_view text = nodes_.as_text(a[0]);
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      bytes += text[i];
    } else if ((c == 0xC2 || c == 0xC3) && i + 1 < text.size()) {
      bytes += static_cast<char>((c & 3) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3F));
    } else {
      throw FormatError("bytes with a character that latin1 has not");
    }
  }
  return nodes_.bytes(bytes);
}

void TorchObjects::refuse_code(std::string_view module, std::string_view name,
                               PickleUse::How how) const {
  if (options_.keep_calls || !runs_code(module, name, how)) return;
  throw UnsafePickleError(
      where_ + ": " + (how == PickleUse::How::mention ? "holds " : "calls ") +
      dotted(module, name) +
      ", which is no plain data: a program that unpickles this file runs it. Nothing was called "
      "here; scan lists all that it would do, keep_calls keeps it as an inert object");
}

void TorchObjects::refuse_code(NodeId callable, NodeId arguments, Made made) {
  if (nodes_.kind(callable) != ValueKind::global) return;
  const std::string_view module = nodes_.module_of(callable), name = nodes_.name_of(callable);
  const auto a = nodes_.items(arguments);
  if (made == Made::by_call && is_getattr(module, name) && a.size() == 2 &&
      nodes_.kind(a[1]) == ValueKind::text) {
    const std::string_view attribute = nodes_.as_text(a[1]);
    if (nodes_.kind(a[0]) == ValueKind::global) {
      return refuse_code(nodes_.module_of(a[0]), dotted(nodes_.name_of(a[0]), attribute),
                         PickleUse::How::mention);
    }
    // A layer holds a method of its own, as those do whose shapes are not known yet.
    const NodeId of = nodes_.kind(a[0]) == ValueKind::object ? nodes_.items(a[0])[kCallable] : a[0];
    if (nodes_.kind(of) == ValueKind::global &&
        nodes_.module_of(of).starts_with("torch.nn.modules.") && !attribute.starts_with("__"))
      return;
  }
  refuse_code(module, name, made == Made::by_call ? PickleUse::How::call : PickleUse::How::make);
  // The function that a subclass of Tensor is made by stands among the arguments.
  if (known(callable) == Known::from_type && !a.empty() && nodes_.kind(a[0]) == ValueKind::global)
    refuse_code(nodes_.module_of(a[0]), nodes_.name_of(a[0]), PickleUse::How::call);
}

void TorchObjects::check_layout(NodeId arguments) const {
  const auto a = nodes_.items(arguments);
  if (a.size() == 1 && nodes_.kind(a[0]) == ValueKind::text) {
    const std::string_view layout = nodes_.as_text(a[0]);
    for (const std::string_view known_layout :
         {"torch.strided", "torch.sparse_coo", "torch.sparse_csr", "torch.sparse_csc",
          "torch.sparse_bsr", "torch.sparse_bsc", "torch._mkldnn", "torch.jagged"}) {
      if (layout == known_layout) return;
    }
  }
  throw FormatError("a layout of tensors that torch has not");
}

NodeId TorchObjects::inert(NodeId callable, NodeId arguments, Made made) {
  const bool is_name = nodes_.kind(callable) == ValueKind::global;
  if (!is_name)
    throw FormatError("calls a value of kind " + std::string(name(nodes_.kind(callable))));
  const std::string_view module = nodes_.module_of(callable), name = nodes_.name_of(callable);
  refuse_code(callable, arguments, made);
  if (module == "torch.serialization" && name == "_get_layout") check_layout(arguments);
  if (options_.refuse_objects && !is_plain_data(module, name)) {
    throw UnsafePickleError(
        where_ + ": holds an object of " + dotted(module, name) +
        ", which is not plain data; without refuse_objects it is kept as an inert object");
  }
  const NodeId object = nodes_.object(callable, arguments, made);
  const auto span = nodes_.items(arguments);
  if (made == Made::by_call && span.size() <= kMaxArguments)
    nodes_.set_parts(object, parts_of(callable, std::vector<NodeId>(span.begin(), span.end())));
  return object;
}

// The tensors inside of an object that stands for one: quantized, sparse, nested, of a class derived from Tensor. By
// what is added to its name. kNoNode: it is another object.
NodeId TorchObjects::parts_of(NodeId callable, std::span<const NodeId> a) {
  const auto is = [&](NodeId node, ValueKind kind) { return nodes_.kind(node) == kind; };
  const std::string_view name = nodes_.name_of(callable);
  if (!nodes_.module_of(callable).starts_with("torch.")) return kNoNode;
  const NodeId parts = nodes_.container(ValueKind::dict);
  const auto add = [&](std::string_view suffix, NodeId part) {
    nodes_.set(parts, nodes_.text(suffix), part);
  };
  const auto add_all = [&](std::initializer_list<std::string_view> suffixes, NodeId tuple) {
    const std::vector<NodeId> items(nodes_.items(tuple).begin(), nodes_.items(tuple).end());
    for (std::size_t i = 0; const std::string_view suffix : suffixes)
      if (i < items.size()) add(suffix, items[i++]);
  };
  if (name == "_rebuild_qtensor" && a.size() >= 6) {
    // (storage, offset, shape, stride, (scheme, scales, zero points, axis), requires_grad, hooks)
    const NodeId tensor = make_tensor(a.first(4), Known::tensor_v0);
    nodes_.row(tensor).requires_grad = truth(a[5], "requires_grad");
    add("", tensor);
    if (is(a[4], ValueKind::tuple)) {
      const auto quantizer = nodes_.items(a[4]);
      if (quantizer.size() == 4 && is(quantizer[1], ValueKind::tensor) &&
          is(quantizer[2], ValueKind::tensor)) {
        const NodeId scales = quantizer[1], zero_points = quantizer[2];
        add("#scales", scales);
        add("#zero_points", zero_points);
      }
    }
    return parts;
  }
  const bool is_sparse = name == "_rebuild_sparse_tensor" || name == "_rebuild_sparse_csr_tensor";
  if (is_sparse && a.size() == 2 && is(a[0], ValueKind::object) && is(a[1], ValueKind::tuple)) {
    const auto layout_arguments = nodes_.items(nodes_.items(a[0])[kArguments]);
    const std::string layout(layout_arguments.size() == 1 &&
                                     is(layout_arguments[0], ValueKind::text)
                                 ? nodes_.as_text(layout_arguments[0])
                                 : "");
    if (layout == "torch.sparse_coo")
      add_all({"#indices", "#values"}, a[1]);
    else if (layout == "torch.sparse_csr" || layout == "torch.sparse_bsr")
      add_all({"#crow_indices", "#col_indices", "#values"}, a[1]);
    else
      add_all({"#ccol_indices", "#row_indices", "#values"}, a[1]);
    return parts;
  }
  if (name == "_rebuild_device_tensor_from_cpu_tensor" && a.size() == 4) {
    add("", a[0]);  // (tensor, dtype, device, requires_grad): of devices without storages, as XLA
    return parts;
  }
  if (name == "_rebuild_nested_tensor" && a.size() == 4) {
    add("#values", a[0]);
    add("#sizes", a[1]);
    add("#strides", a[2]);
    add("#storage_offsets", a[3]);
    return parts;
  }
  if (name == "_rebuild_from_type_v2" && a.size() == 4 && is(a[2], ValueKind::tuple)) {
    // (function, class, arguments, state): what the function makes, and the attributes
    const Known function = is(a[0], ValueKind::global) ? known(a[0]) : Known::nothing;
    if (function == Known::tensor_v2 || function == Known::tensor_v3) {
      const std::vector<NodeId> of(nodes_.items(a[2]).begin(), nodes_.items(a[2]).end());
      add("", make_tensor(of, function));
    }
    if (is(a[3], ValueKind::dict) && states_.insert(a[3]).second) {
      const std::vector<NodeId> state(nodes_.entries(a[3]).begin(), nodes_.entries(a[3]).end());
      for (std::size_t i = 0; i < state.size(); i += 2) {
        if (is(state[i], ValueKind::text))
          add("/" + std::string(nodes_.as_text(state[i])), state[i + 1]);
      }
    }
    return parts;
  }
  return kNoNode;
}

NodeId TorchObjects::call(NodeId callable, NodeId arguments, Made made) {
  const auto span = nodes_.items(arguments);
  if (span.size() > kMaxArguments) return inert(callable, arguments, made);
  const std::vector<NodeId> a(span.begin(), span.end());  // the table grows meanwhile
  const auto kind_of = [&](std::size_t i) {
    return i < a.size() ? nodes_.kind(a[i]) : ValueKind::none;
  };
  if (made == Made::by_new_with_keywords) return inert(callable, arguments, made);
  switch (known(callable)) {
    case Known::tensor_v2:
      return make_tensor(a, Known::tensor_v2);
    case Known::tensor_v3:
      return make_tensor(a, Known::tensor_v3);
    case Known::tensor_v0:
      return make_tensor(a, Known::tensor_v0);
    case Known::meta_tensor:
      return make_meta_tensor(a);
    case Known::parameter:
      return make_parameter(a);
    case Known::parameter_with_state: {
      const NodeId parameter = make_parameter(a);
      if (a.size() > 3) set_state(parameter, a[3]);
      return parameter;
    }
    case Known::from_type: {  // (function, type, arguments, state)
      const bool plain = kind_of(1) == ValueKind::global &&
                         nodes_.module_of(a[1]).starts_with("torch") &&
                         (nodes_.name_of(a[1]) == "Tensor" || nodes_.name_of(a[1]) == "Parameter");
      if (!plain || a.size() != 4 || kind_of(2) != ValueKind::tuple ||
          known(a[0]) == Known::from_type) {
        return inert(callable, arguments, made);
      }
      const NodeId tensor = call(a[0], a[2], Made::by_call);
      set_state(tensor, a[3]);
      return tensor;
    }
    case Known::ordered_dict: {
      const NodeId dict = nodes_.container(ValueKind::ordered_dict);
      if (a.empty()) return dict;
      if (a.size() != 1 || kind_of(0) != ValueKind::list)
        throw FormatError("an OrderedDict made of what is no list");
      for (std::size_t i = 0; i < nodes_.items(a[0]).size(); ++i) {
        const NodeId pair = nodes_.items(a[0])[i];
        const bool is_pair =
            (nodes_.kind(pair) == ValueKind::list || nodes_.kind(pair) == ValueKind::tuple) &&
            nodes_.items(pair).size() == 2 && nodes_.can_be_key(nodes_.items(pair)[0]);
        if (!is_pair) throw FormatError("an OrderedDict made of what are no pairs");
        nodes_.set(dict, nodes_.items(pair)[0], nodes_.items(pair)[1]);
      }
      return dict;
    }
    case Known::size: {
      if (a.size() != 1 || kind_of(0) != ValueKind::tuple)
        throw FormatError("a torch.Size of what is no tuple");
      const Dims sizes = dims(a[0], "size");
      const auto parts = nodes_.items(a[0]);
      const std::vector<NodeId> items(parts.begin(), parts.end());
      return nodes_.sequence(ValueKind::size, items);
    }
    case Known::device: {
      if (a.empty() || a.size() > 2 || kind_of(0) != ValueKind::text ||
          (a.size() == 2 && kind_of(1) != ValueKind::integer)) {
        throw FormatError("a torch.device that is no (type, index)");
      }
      std::string text(nodes_.as_text(a[0]));
      if (a.size() == 2) text += ":" + std::to_string(nodes_.as_integer(a[1]));
      return nodes_.device(text);
    }
    case Known::encode:
      return encode(a);
    case Known::bytes:
      if (a.empty()) return nodes_.bytes("");
      return inert(callable, arguments, made);
    case Known::bytearray:
      if (a.empty()) return nodes_.bytearray("");
      if (kind_of(0) != ValueKind::bytes || a.size() != 1)
        throw FormatError("a bytearray of what are no bytes");
      return nodes_.bytearray(std::string(nodes_.as_text(a[0])));
    case Known::set:
    case Known::frozenset: {
      const ValueKind kind = known(callable) == Known::set ? ValueKind::set : ValueKind::frozenset;
      if (a.empty()) return nodes_.container(kind);
      if (a.size() != 1 || kind_of(0) != ValueKind::list)
        throw FormatError("a set of what is no list");
      const auto parts = nodes_.items(a[0]);
      const std::vector<NodeId> items(parts.begin(), parts.end());
      return nodes_.sequence(kind, items);
    }
    case Known::complex: {
      const auto number = [&](std::size_t i) {
        return kind_of(i) == ValueKind::real || kind_of(i) == ValueKind::integer;
      };
      if (a.size() != 2 || !number(0) || !number(1))
        throw FormatError("a complex number that is no (real, imaginary)");
      return nodes_.complex(nodes_.as_real(a[0]), nodes_.as_real(a[1]));
    }
    case Known::nothing:
      break;
  }
  return inert(callable, arguments, made);
}

void TorchObjects::build(NodeId target, NodeId state) {
  const ValueKind kind = nodes_.kind(target), state_kind = nodes_.kind(state);
  if (kind == ValueKind::ordered_dict && is_dict(state_kind)) {
    nodes_.set_attributes(target, state);  // its __dict__: `_metadata` of a state dict
    return;
  }
  if (kind == ValueKind::object) {
    nodes_.set_attributes(target, state);
    return;
  }
  throw FormatError("sets the state of a value of kind " + std::string(name(kind)) +
                    ", which has none to set");
}

}  // namespace transload
