// A StateDict's values as Python prints them, and its tensors by name. Neither recurses: what a file nests is
// bounded only by its size, and containers may hold themselves.
#include <array>
#include <charconv>
#include <cmath>
#include <unordered_set>

#include "transload/error.h"
#include "transload/state_dict.h"
#include "types/checked.h"
#include "values/node_table.h"

namespace transload {
namespace {

std::string decimal(std::span<const std::byte> twos_complement) {
  std::vector<std::uint32_t> limbs;  // magnitude, little-endian
  const bool negative = (twos_complement.back() & std::byte{0x80}) != std::byte{0};
  for (std::size_t i = 0; i < twos_complement.size(); ++i) {
    if (i % 4 == 0) limbs.push_back(0);
    limbs.back() |= std::to_integer<std::uint32_t>(twos_complement[i]) << (8 * (i % 4));
  }
  if (negative) {
    const std::size_t in_last = (twos_complement.size() - 1) % 4 + 1;
    if (in_last < 4) limbs.back() |= ~0u << (8 * in_last);
    std::uint64_t carry = 1;
    for (std::uint32_t& limb : limbs) {
      carry += static_cast<std::uint32_t>(~limb);
      limb = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
  }
  std::string digits;
  while (!limbs.empty()) {
    std::uint64_t rest = 0;
    for (std::size_t i = limbs.size(); i-- > 0;) {
      rest = (rest << 32) | limbs[i];
      limbs[i] = static_cast<std::uint32_t>(rest / 1'000'000'000);
      rest %= 1'000'000'000;
    }
    while (!limbs.empty() && limbs.back() == 0) limbs.pop_back();
    for (int i = 0; i < 9 && (!limbs.empty() || rest); ++i, rest /= 10)
      digits += static_cast<char>('0' + rest % 10);
  }
  if (digits.empty()) digits = "0";
  if (negative) digits += '-';
  return {digits.rbegin(), digits.rend()};
}

// As Python's repr: the shortest digits that read back as the same number.
std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 32> digits;
  const double size = std::fabs(value);
  const auto format = size != 0 && (size < 1e-4 || size >= 1e16) ? std::chars_format::scientific
                                                                 : std::chars_format::fixed;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, format).ptr;
  std::string text(digits.data(), end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string quoted(std::string_view text) {
  const char quote =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"'
                                                                                            : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      (out += '\\') += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      constexpr std::string_view hex = "0123456789abcdef";
      ((out += "\\x") += hex[static_cast<unsigned char>(c) >> 4]) +=
          hex[static_cast<unsigned char>(c) & 15];
    } else {
      out += c;
    }
  }
  return out += quote;
}

std::string bytes_text(std::string_view bytes) {
  std::string out = "b'";
  for (const char c : bytes) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u >= 0x7F) {
      constexpr std::string_view hex = "0123456789abcdef";
      ((out += "\\x") += hex[u >> 4]) += hex[u & 15];
    } else {
      if (c == '\'' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out += '\'';
}

std::string dotted(std::string_view global) {
  std::string text(global);
  if (const std::size_t at = text.find('\n'); at != std::string::npos) text[at] = '.';
  return text;
}

std::string tensor_text(const StateDict& state, const NodeTable& nodes, NodeId id) {
  const TensorRow& row = nodes.row(id);
  std::string text = row.is_parameter ? "Parameter " : "";
  text += std::string(name(row.dtype)) + " " + Dims(nodes.shape(id)).str();
  const Device device =
      row.storage == TensorRow::kNoStorage ? kMeta : state.storages()[row.storage].device();
  return text + " on " + device.str();
}

// What is to be written next: a text, or a node with the text behind it.
struct Part {
  std::string text;
  NodeId node = kNoNode;
  NodeId leaves = kNoNode;  // this container is done
};

}  // namespace

std::string str(const Value& value, std::size_t max_chars) {
  const NodeTable& nodes = value.state().nodes();
  std::string out;
  std::vector<Part> todo{{"", value.id(), kNoNode}};
  std::unordered_set<NodeId> inside;
  const auto push_items = [&](std::string_view open, std::string_view close, NodeId id, bool pairs,
                              bool one_comma) {
    const auto refs = pairs ? nodes.entries(id) : nodes.items(id);
    out += open;
    inside.insert(id);
    const std::size_t step = pairs ? 2 : 1;
    // What cannot be shown need not be queued: an item takes two characters at least.
    const std::size_t shown = std::min(refs.size(), (max_chars / 2 + 1) * step);
    todo.push_back({one_comma && refs.size() == 1 ? "," + std::string(close) : std::string(close),
                    kNoNode, id});
    for (std::size_t i = shown; i > 0; i -= step) {
      if (pairs) {
        todo.push_back({"", refs[i - 1], kNoNode});
        todo.push_back({": ", kNoNode, kNoNode});
        todo.push_back({"", refs[i - 2], kNoNode});
      } else {
        todo.push_back({"", refs[i - 1], kNoNode});
      }
      if (i > step) todo.push_back({", ", kNoNode, kNoNode});
    }
  };
  while (!todo.empty()) {
    if (out.size() > max_chars) {
      out.resize(max_chars);
      while (!out.empty() && (out.back() & 0xC0) == 0x80) out.pop_back();  // no half character
      if (!out.empty() && (out.back() & 0x80)) out.pop_back();
      return out + "…";
    }
    const Part part = std::move(todo.back());
    todo.pop_back();
    out += part.text;
    if (part.leaves != kNoNode) inside.erase(part.leaves);
    const NodeId id = part.node;
    if (id == kNoNode) continue;
    const ValueKind kind = nodes.kind(id);
    if (inside.contains(id)) {
      out += kind == ValueKind::tuple ? "(...)" : kind == ValueKind::list ? "[...]" : "{...}";
      continue;
    }
    switch (kind) {
      case ValueKind::none:
        out += "None";
        break;
      case ValueKind::boolean:
        out += nodes.as_boolean(id) ? "True" : "False";
        break;
      case ValueKind::integer:
        out += std::to_string(nodes.as_integer(id));
        break;
      case ValueKind::big_integer: {
        const auto bytes = Value(value.state(), id).bytes();
        if (bytes.size() > 1000) {
          out += "an int of " + std::to_string(bytes.size() * 8) + " bits";
        } else {
          out += decimal(bytes);
        }
        break;
      }
      case ValueKind::real:
        out += real_text(nodes.as_real(id));
        break;
      case ValueKind::complex: {
        const auto [re, im] = nodes.as_complex(id);
        out += "(" + real_text(re) + (std::signbit(im) ? "" : "+") + real_text(im) + "j)";
        break;
      }
      case ValueKind::text:
        out += quoted(nodes.as_text(id).substr(0, max_chars));
        break;
      case ValueKind::bytes:
        out += bytes_text(nodes.as_text(id).substr(0, max_chars));
        break;
      case ValueKind::bytearray:
        out += "bytearray(" + bytes_text(nodes.as_text(id).substr(0, max_chars)) + ")";
        break;
      case ValueKind::dtype:
        (out += "torch.") += name(nodes.as_dtype(id));
        break;
      case ValueKind::device:
        out += "device(" + quoted(nodes.as_text(id)) + ")";
        break;
      case ValueKind::global:
        out += "<" + dotted(nodes.as_text(id)) + ">";
        break;
      case ValueKind::tensor:
        out += tensor_text(value.state(), nodes, id);
        break;
      case ValueKind::storage:
        (out += name(nodes.as_dtype(id))) +=
            " storage of " + std::to_string(nodes.storage_numel(id)) + " elements";
        break;
      case ValueKind::list:
        push_items("[", "]", id, false, false);
        break;
      case ValueKind::tuple:
        push_items("(", ")", id, false, true);
        break;
      case ValueKind::size:
        push_items("torch.Size([", "])", id, false, false);
        break;
      case ValueKind::set:
        push_items("{", "}", id, false, false);
        break;
      case ValueKind::frozenset:
        push_items("frozenset({", "})", id, false, false);
        break;
      case ValueKind::dict:
        push_items("{", "}", id, true, false);
        break;
      case ValueKind::ordered_dict:
        push_items("OrderedDict({", "})", id, true, false);
        break;
      case ValueKind::object: {
        inside.insert(id);
        const auto parts = nodes.items(id);
        const NodeId attributes = nodes.attributes(id);
        todo.push_back({"", kNoNode, id});
        for (const NodeId more : {attributes, parts[kDictItems], parts[kListItems]}) {
          if (more == kNoNode) continue;
          todo.push_back({"", more, kNoNode});
          todo.push_back({more == attributes ? " with " : " holding ", kNoNode, kNoNode});
        }
        todo.push_back({"", parts[kArguments], kNoNode});
        todo.push_back({"", parts[kCallable], kNoNode});
        break;
      }
    }
  }
  return out;
}

std::string name_part(const Value& key) {
  return key.is(ValueKind::text) ? std::string(key.text()) : str(key, 100);
}

constexpr std::uint64_t kNamesNbytes = 16 << 20, kNamesPerNode = 256;

std::vector<NamedTensor> StateDict::tensors() const& {
  struct Step {
    NodeId node;
    std::size_t name_nbytes;  // of the path so far
    std::string part;
    bool leaves;
    bool is_suffix = false;  // the part is added as it is
  };
  const NodeTable& nodes = *nodes_;
  std::vector<NamedTensor> found;
  // Long names of what nests deep could take any amount of memory.
  const std::uint64_t most_name_nbytes = kNamesNbytes + kNamesPerNode * nodes.size();
  std::uint64_t name_nbytes = 0;
  std::vector<bool> inside(nodes.size()), seen(nodes.size());
  std::vector<Step> todo{{nodes.root, 0, "", false}};
  std::string path;
  // Containers that share parts could be walked along 2^n paths: past this many steps each is entered once.
  const std::size_t many_steps = 4 * nodes.size() + 100'000;
  std::size_t steps = 0;
  while (!todo.empty()) {
    ++steps;
    const Step step = std::move(todo.back());
    todo.pop_back();
    if (step.leaves) {
      inside[step.node] = false;
      continue;
    }
    const NodeId id = step.node;
    path.resize(step.name_nbytes);
    if (!step.part.empty()) {
      if (!path.empty() && !step.is_suffix) path += '/';
      path += step.part;
    }
    const ValueKind kind = nodes.kind(id);
    if (kind == ValueKind::tensor) {
      name_nbytes += path.size();
      if (name_nbytes > most_name_nbytes)
        throw FormatError("nests so deep that the names of its tensors take more than " +
                          human_bytes(most_name_nbytes));
      found.push_back({path, Value(*this, id)});
      continue;
    }
    if (inside[id] || (seen[id] && steps > many_steps)) continue;
    std::vector<std::pair<std::string, NodeId>> below;
    if (is_dict(kind)) {
      const auto entries = nodes.entries(id);
      below.reserve(entries.size() / 2);
      for (std::size_t i = 0; i < entries.size(); i += 2) {
        const Value key(*this, entries[i]);
        const ValueKind below_kind = nodes.kind(entries[i + 1]);
        if (!is_sequence(below_kind) && !is_dict(below_kind) && below_kind != ValueKind::object &&
            below_kind != ValueKind::tensor)
          continue;
        below.emplace_back(name_part(key), entries[i + 1]);
      }
    } else if (is_sequence(kind)) {
      const auto items = nodes.items(id);
      for (std::size_t i = 0; i < items.size(); ++i) {
        if (nodes.kind(items[i]) == ValueKind::tensor || !nodes.below(items[i]).empty())
          below.emplace_back(std::to_string(i), items[i]);
      }
    } else if (kind == ValueKind::object) {
      // Of an object the keys of its state; else positions in its arguments.
      const NodeId state = nodes.attributes(id), parts = nodes.items(id)[kTensorParts];
      if (parts != kNoNode) {
        for (std::size_t i = 0; i < nodes.entries(parts).size(); i += 2)
          below.emplace_back(nodes.as_text(nodes.entries(parts)[i]), nodes.entries(parts)[i + 1]);
      } else if (state != kNoNode) {
        below.emplace_back("", state);
      } else if (nodes.items(id)[kArguments] != kNoNode) {
        below.emplace_back("", nodes.items(id)[kArguments]);
      }
      for (const std::size_t i : {kListItems, kDictItems}) {
        if (nodes.items(id)[i] != kNoNode) below.emplace_back("", nodes.items(id)[i]);
      }
    }
    if (below.empty()) continue;
    inside[id] = seen[id] = true;
    const std::size_t at = path.size();
    const bool are_suffixes = kind == ValueKind::object && nodes.items(id)[kTensorParts] != kNoNode;
    todo.push_back({id, 0, "", true});
    for (std::size_t i = below.size(); i-- > 0;)
      todo.push_back({below[i].second, at, std::move(below[i].first), false, are_suffixes});
  }
  return found;
}

}  // namespace transload
