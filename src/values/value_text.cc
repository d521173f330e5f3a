// A value as Python prints it. Does not recurse: only its size bounds how deep a file nests, and
// containers may hold themselves.
#include "values/value_text.h"

#include <cmath>
#include <unordered_set>
#include <vector>

#include "transload/state_dict.h"
#include "values/contents.h"
#include "values/literals.h"
#include "values/node_table.h"

namespace transload {
namespace {

std::string dotted(std::string_view global) {
  std::string text(global);
  if (const std::size_t at = text.find('\n'); at != std::string::npos) text[at] = '.';
  return text;
}

std::string big_integer_text(std::string_view twos_complement) {
  constexpr std::size_t kMostNbytes = 1000;  // the digits of more take too long
  if (twos_complement.size() > kMostNbytes)
    return "an int of " + std::to_string(twos_complement.size() * 8) + " bits";
  return integer_literal(std::as_bytes(std::span(twos_complement)));
}

class Printer {
 public:
  Printer(const NodeTable& nodes, std::span<const Storage> storages, std::size_t max_chars)
      : nodes_(nodes), storages_(storages), max_chars_(max_chars) {}

  std::string print(NodeId root) {
    todo_.push_back({"", root, kNoNode});
    while (!todo_.empty()) {
      if (out_.size() > max_chars_) return cut();
      const Part part = std::move(todo_.back());
      todo_.pop_back();
      out_ += part.text;
      if (part.leaves != kNoNode) inside_.erase(part.leaves);
      if (part.node != kNoNode) print_node(part.node);
    }
    return std::move(out_);
  }

 private:
  // What is printed next: a text, then a node.
  struct Part {
    std::string text;
    NodeId node = kNoNode;
    NodeId leaves = kNoNode;  // the container that the text closes
  };
  struct Brackets {
    std::string_view open, close;
  };

  std::string cut() {
    std::size_t nbytes = max_chars_;
    while (nbytes > 0 && (out_[nbytes] & 0xC0) == 0x80)
      --nbytes;  // not within a character of UTF-8
    return out_.substr(0, nbytes) + "…";
  }

  void print_node(NodeId node) {
    const ValueKind kind = nodes_.kind(node);
    if (inside_.contains(node)) {
      out_ += kind == ValueKind::tuple ? "(...)" : kind == ValueKind::list ? "[...]" : "{...}";
    } else if (kind == ValueKind::object) {
      open_object(node);
    } else if (is_sequence(kind) || is_dict(kind)) {
      open_container(node);
    } else {
      out_ += text_of(node);
    }
  }

  // Of a value that holds no others.
  std::string text_of(NodeId node) const {
    switch (nodes_.kind(node)) {
      case ValueKind::boolean:
        return nodes_.as_boolean(node) ? "True" : "False";
      case ValueKind::integer:
        return std::to_string(nodes_.as_integer(node));
      case ValueKind::big_integer:
        return big_integer_text(nodes_.as_text(node));
      case ValueKind::real:
        return real_literal(nodes_.as_real(node));
      case ValueKind::complex: {
        const auto [re, im] = nodes_.as_complex(node);
        return "(" + real_literal(re) + (std::signbit(im) ? "" : "+") + real_literal(im) + "j)";
      }
      case ValueKind::text:
        return text_literal(nodes_.as_text(node).substr(0, max_chars_));
      case ValueKind::bytes:
        return bytes_literal(nodes_.as_text(node).substr(0, max_chars_));
      case ValueKind::bytearray:
        return "bytearray(" + bytes_literal(nodes_.as_text(node).substr(0, max_chars_)) + ")";
      case ValueKind::dtype:
        return "torch." + std::string(name(nodes_.as_dtype(node)));
      case ValueKind::device:
        return "device(" + text_literal(nodes_.as_text(node)) + ")";
      case ValueKind::global:
        return "<" + dotted(nodes_.as_text(node)) + ">";
      case ValueKind::tensor:
        return tensor_text(node);
      case ValueKind::storage:
        return std::string(name(nodes_.as_dtype(node))) + " storage of " +
               std::to_string(nodes_.storage_numel(node)) + " elements";
      default:
        return "None";
    }
  }

  std::string tensor_text(NodeId tensor) const {
    const TensorRow& row = nodes_.row(tensor);
    const std::string text = (row.is_parameter ? "Parameter " : "") + std::string(name(row.dtype)) +
                             " " + Dims(nodes_.shape(tensor)).str();
    if (row.storage == TensorRow::kNoStorage) return text + " on meta";
    return storages_.empty() ? text : text + " on " + storages_[row.storage].device().str();
  }

  static Brackets brackets_of(ValueKind kind) {
    switch (kind) {
      case ValueKind::list:
        return {"[", "]"};
      case ValueKind::tuple:
        return {"(", ")"};
      case ValueKind::size:
        return {"torch.Size([", "])"};
      case ValueKind::frozenset:
        return {"frozenset({", "})"};
      case ValueKind::ordered_dict:
        return {"OrderedDict({", "})"};
      default:
        return {"{", "}"};
    }
  }

  void open_container(NodeId node) {
    const auto [open, close] = brackets_of(nodes_.kind(node));
    const auto refs = nodes_.below(node);
    const bool has_keys = is_dict(nodes_.kind(node));
    const bool needs_comma = nodes_.kind(node) == ValueKind::tuple && refs.size() == 1;
    out_ += open;
    inside_.insert(node);
    todo_.push_back({(needs_comma ? "," : "") + std::string(close), kNoNode, node});
    const std::size_t step = has_keys ? 2 : 1;
    // An item takes two characters or more: those that cannot be shown need not be queued.
    const std::size_t shown = std::min(refs.size(), (max_chars_ / 2 + 1) * step);
    for (std::size_t i = shown; i > 0; i -= step) {
      const std::string separator = i > step ? ", " : "";
      if (has_keys) todo_.push_back({": ", refs[i - 1]});
      todo_.push_back({separator, refs[i - step]});
    }
  }

  // As "<torch.Generator>('cpu') with {'seed': 1}".
  void open_object(NodeId node) {
    inside_.insert(node);
    const auto items = nodes_.items(node);
    const NodeId attributes = nodes_.attributes(node);
    todo_.push_back({"", kNoNode, node});
    if (attributes != kNoNode) todo_.push_back({" with ", attributes});
    for (const ObjectItem which : {kDictItems, kListItems}) {
      if (items[which] != kNoNode) todo_.push_back({" holding ", items[which]});
    }
    todo_.push_back({"", items[kArguments]});
    todo_.push_back({"", items[kCallable]});
  }

  const NodeTable& nodes_;
  std::span<const Storage> storages_;
  std::size_t max_chars_;
  std::string out_;
  std::vector<Part> todo_;
  std::unordered_set<NodeId> inside_;  // containers that are open
};

}  // namespace

std::string str(const NodeTable& nodes, std::span<const Storage> storages, NodeId node,
                std::size_t max_chars) {
  return Printer(nodes, storages, max_chars).print(node);
}

std::string str(const Value& value, std::size_t max_chars) {
  const StateContents& contents = *value.contents();
  return str(*contents.nodes, contents.storages, value.id(), max_chars);
}

}  // namespace transload
