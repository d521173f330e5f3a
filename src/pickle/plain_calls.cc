// Facts: CPython, Lib/pickle.py, and the __reduce_ex__ of these types; torch/_C for Size and device.
#include "pickle/plain_calls.h"

#include <string>
#include <vector>

#include "pickle/torch_tensors.h"
#include "transload/error.h"

namespace transload {
namespace {

bool is(const NodeTable& nodes, std::span<const NodeId> a, std::size_t i, ValueKind kind) {
  return i < a.size() && nodes.kind(a[i]) == kind;
}

// A copy of the items: the table grows while a value is made of them.
std::vector<NodeId> items_of(const NodeTable& nodes, NodeId node) {
  const auto items = nodes.items(node);
  return {items.begin(), items.end()};
}

NodeId make_ordered_dict(NodeTable& nodes, std::span<const NodeId> a) {
  const NodeId dict = nodes.container(ValueKind::ordered_dict);
  if (a.empty()) return dict;
  if (a.size() != 1 || !is(nodes, a, 0, ValueKind::list))
    throw FormatError("the OrderedDict's argument is not a list");
  for (const NodeId pair : items_of(nodes, a[0])) {
    const ValueKind kind = nodes.kind(pair);
    const bool is_pair = (kind == ValueKind::list || kind == ValueKind::tuple) &&
                         nodes.items(pair).size() == 2 && nodes.can_be_key(nodes.items(pair)[0]);
    if (!is_pair) throw FormatError("the OrderedDict's list has an item that is not (key, value)");
    nodes.set(dict, nodes.items(pair)[0], nodes.items(pair)[1]);
  }
  return dict;
}

NodeId make_size(NodeTable& nodes, std::span<const NodeId> a) {
  if (a.size() != 1 || !is(nodes, a, 0, ValueKind::tuple))
    throw FormatError("the torch.Size's argument is not a tuple");
  dims_of(nodes, a[0], "the torch.Size");
  return nodes.sequence(ValueKind::size, items_of(nodes, a[0]));
}

NodeId make_device(NodeTable& nodes, std::span<const NodeId> a) {
  if (a.empty() || a.size() > 2 || !is(nodes, a, 0, ValueKind::text) ||
      (a.size() == 2 && !is(nodes, a, 1, ValueKind::integer))) {
    throw FormatError("the torch.device's arguments are not (type, index)");
  }
  std::string text(nodes.as_text(a[0]));
  if (a.size() == 2) text += ":" + std::to_string(nodes.as_integer(a[1]));
  return nodes.device(text);
}

// The bytes of a text whose characters are U+0000 to U+00FF, of one or two bytes each in UTF-8.
std::string latin1(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      bytes += text[i];
    } else if ((c == 0xC2 || c == 0xC3) && i + 1 < text.size()) {
      bytes += static_cast<char>((c & 3) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3F));
    } else {
      throw FormatError("_codecs.encode has a text with a character that latin1 does not have");
    }
  }
  return bytes;
}

// encode(text, "latin1"): how protocol 2 writes bytes.
NodeId encode(NodeTable& nodes, std::span<const NodeId> a) {
  if (a.size() != 2 || !is(nodes, a, 0, ValueKind::text) || !is(nodes, a, 1, ValueKind::text) ||
      (nodes.as_text(a[1]) != "latin1" && nodes.as_text(a[1]) != "latin-1")) {
    throw FormatError("the arguments of _codecs.encode are not (text, \"latin1\")");
  }
  return nodes.bytes(latin1(nodes.as_text(a[0])));
}

NodeId make_bytearray(NodeTable& nodes, std::span<const NodeId> a) {
  if (a.empty()) return nodes.bytearray("");
  if (a.size() != 1 || !is(nodes, a, 0, ValueKind::bytes))
    throw FormatError("the bytearray's argument is not bytes");
  return nodes.bytearray(std::string(nodes.as_text(a[0])));
}

NodeId make_set(NodeTable& nodes, ValueKind kind, std::span<const NodeId> a) {
  if (a.empty()) return nodes.container(kind);
  if (a.size() != 1 || !is(nodes, a, 0, ValueKind::list))
    throw FormatError("the " + std::string(name(kind)) + "'s argument is not a list");
  return nodes.sequence(kind, items_of(nodes, a[0]));
}

NodeId make_complex(NodeTable& nodes, std::span<const NodeId> a) {
  const auto is_number = [&](std::size_t i) {
    return is(nodes, a, i, ValueKind::real) || is(nodes, a, i, ValueKind::integer);
  };
  if (a.size() != 2 || !is_number(0) || !is_number(1))
    throw FormatError("the complex number's arguments are not (real, imaginary)");
  return nodes.complex(nodes.as_real(a[0]), nodes.as_real(a[1]));
}

}  // namespace

NodeId make_plain_value(NodeTable& nodes, Constructor constructor, std::span<const NodeId> a) {
  switch (constructor) {
    case Constructor::ordered_dict:
      return make_ordered_dict(nodes, a);
    case Constructor::size:
      return make_size(nodes, a);
    case Constructor::device:
      return make_device(nodes, a);
    case Constructor::encode:
      return encode(nodes, a);
    case Constructor::bytes:
      return a.empty() ? nodes.bytes("") : kNoNode;
    case Constructor::bytearray:
      return make_bytearray(nodes, a);
    case Constructor::set:
      return make_set(nodes, ValueKind::set, a);
    case Constructor::frozenset:
      return make_set(nodes, ValueKind::frozenset, a);
    case Constructor::complex:
      return make_complex(nodes, a);
    default:
      return kNoNode;
  }
}

}  // namespace transload
