// Facts: torch/nn/modules/module.py of PyTorch 2.13, __setstate__, _save_to_state_dict and state_dict.
#include "values/modules.h"

#include <algorithm>
#include <set>
#include <string>
#include <unordered_map>

namespace transload {
namespace {

bool stands_for_tensor(const NodeTable& nodes, NodeId node) {
  const ValueKind kind = nodes.kind(node);
  return kind == ValueKind::tensor ||
         (kind == ValueKind::object && nodes.items(node)[kTensorParts] != kNoNode);
}

// The dict at a key of a module's state, or kNoNode.
NodeId dict_at(const NodeTable& nodes, NodeId state, std::string_view key) {
  const NodeId found = nodes.find(state, key);
  return found != kNoNode && is_dict(nodes.kind(found)) ? found : kNoNode;
}

std::set<std::string_view> texts_in_set(const NodeTable& nodes, NodeId set) {
  std::set<std::string_view> texts;
  if (set == kNoNode || nodes.kind(set) != ValueKind::set) return texts;
  for (const NodeId item : nodes.items(set)) {
    if (nodes.kind(item) == ValueKind::text) texts.insert(nodes.as_text(item));
  }
  return texts;
}

class StateDictBuilder {
 public:
  StateDictBuilder(NodeTable& nodes, const PartsOfModule& parts_of)
      : nodes_(nodes),
        left_entries_(kMoreEntries + nodes.size()),
        left_nbytes_(kMoreNbytes + kNbytesPerByte * nodes.text_nbytes()) {
    const std::vector<std::uint32_t> mentions = nodes.mentions();
    const auto count = static_cast<NodeId>(nodes.size());
    std::size_t left_parts = kMoreEntries + nodes.references();
    for (NodeId node = 0; node < count; ++node) {
      if (mentions[node] == 0 || nodes.kind(node) != ValueKind::object) continue;
      // Objects may share one dict with all their parameters.
      if (left_parts == 0) break;
      auto parts = parts_of(node);
      if (!parts) continue;
      left_parts -= std::min(left_parts, parts->tensors.size() + parts->modules.size());
      parts_.emplace(node, std::move(*parts));
    }
    std::unordered_map<NodeId, std::uint32_t> inner;  // how often modules hold a module
    for (const auto& [node, parts] : parts_) {
      for (const auto& [name, module] : parts.modules) ++inner[module];
    }
    for (NodeId node = 0; node < count; ++node) {
      if (parts_.contains(node) && mentions[node] > inner[node]) outer_.push_back(node);
    }
  }

  void run() {
    for (const NodeId module : outer_) {
      entries_.clear();
      if (!collect(module)) continue;
      const NodeId dict = nodes_.container(ValueKind::ordered_dict);
      for (const auto& [name, tensor] : entries_) {
        const NodeId key = nodes_.text(name);
        nodes_.set(dict, key, detached(tensor));
      }
      nodes_.set_state_dict(module, dict);
    }
  }

 private:
  // More than any model has: modules that share modules can make 2^n names of n.
  static constexpr std::uint64_t kMoreEntries = 100'000, kMoreNbytes = 16 << 20, kNbytesPerByte = 8;

  struct Step {
    NodeId module;
    std::size_t prefix_nbytes, next;  // of the modules within
  };

  // Collects the entries of a module. Returns false if it has none that could be written down.
  bool collect(NodeId module) {
    std::string prefix;
    std::vector<Step> around;
    const auto enter = [&](NodeId node) {
      const bool is_around = std::ranges::find(around, node, &Step::module) != around.end();
      if (is_around || around.size() == kMostDepth || prefix.size() > left_nbytes_ ||
          !add_tensors(node, prefix))
        return false;
      around.push_back({node, prefix.size(), 0});
      return true;
    };
    if (!enter(module)) return false;
    while (!around.empty()) {
      Step& step = around.back();
      const auto& modules = parts_.at(step.module).modules;
      prefix.resize(step.prefix_nbytes);
      if (step.next == modules.size()) {
        around.pop_back();
        continue;
      }
      const auto [name, inner] = modules[step.next++];
      if (!parts_.contains(inner)) continue;
      prefix += nodes_.as_text(name);
      prefix += '.';
      left_nbytes_ -= std::min<std::uint64_t>(left_nbytes_, nodes_.as_text(name).size());
      if (!enter(inner)) return false;
    }
    return true;
  }

  bool add_tensors(NodeId module, const std::string& prefix) {
    if (left_entries_-- <= 1) return left_entries_ = 1, false;  // modules count too
    for (const auto& [name, tensor] : parts_.at(module).tensors) {
      const std::uint64_t nbytes = prefix.size() + nodes_.as_text(name).size();
      if (left_entries_ <= 1 || nbytes > left_nbytes_) return false;
      --left_entries_;
      left_nbytes_ -= nbytes;
      entries_.emplace_back(prefix + std::string(nodes_.as_text(name)), tensor);
    }
    return true;
  }

  NodeId detached(NodeId tensor) {
    if (nodes_.kind(tensor) != ValueKind::tensor) return tensor;
    const auto [known, is_new] = detached_.try_emplace(tensor, kNoNode);
    if (!is_new) return known->second;
    TensorRow row = nodes_.row(tensor);
    row.requires_grad = row.is_parameter = false;
    const Dims shape(nodes_.shape(tensor)), stride(nodes_.stride(tensor));  // the table grows
    return known->second =
               nodes_.tensor(row, {shape.begin(), shape.size()}, {stride.begin(), stride.size()});
  }

  static constexpr std::size_t kMostDepth = 1000;  // Python's recursion ends there

  NodeTable& nodes_;
  std::uint64_t left_entries_, left_nbytes_;
  std::unordered_map<NodeId, ModuleParts> parts_;  // of all modules
  std::vector<NodeId> outer_;
  std::vector<std::pair<std::string, NodeId>> entries_;
  std::unordered_map<NodeId, NodeId> detached_;
};

}  // namespace

std::optional<ModuleParts> parts_of_torch_module(const NodeTable& nodes, NodeId object) {
  const NodeId state = nodes.attributes(object);
  if (state == kNoNode || !is_dict(nodes.kind(state))) return std::nullopt;
  const NodeId parameters = dict_at(nodes, state, "_parameters"),
               buffers = dict_at(nodes, state, "_buffers"),
               modules = dict_at(nodes, state, "_modules");
  if (parameters == kNoNode || buffers == kNoNode || modules == kNoNode) return std::nullopt;
  const auto not_persistent =
      texts_in_set(nodes, nodes.find(state, std::string_view("_non_persistent_buffers_set")));
  ModuleParts parts;
  for (const NodeId dict : {parameters, buffers, modules}) {
    const auto entries = nodes.entries(dict);
    for (std::size_t i = 0; i < entries.size(); i += 2) {
      if (nodes.kind(entries[i]) != ValueKind::text) return std::nullopt;
      if (dict == modules) {
        parts.modules.emplace_back(entries[i], entries[i + 1]);
      } else if (stands_for_tensor(nodes, entries[i + 1]) &&
                 (dict == parameters || !not_persistent.contains(nodes.as_text(entries[i])))) {
        parts.tensors.emplace_back(entries[i], entries[i + 1]);
      }
    }
  }
  return parts;
}

void add_state_dicts(NodeTable& nodes, const PartsOfModule& parts_of) {
  StateDictBuilder(nodes, parts_of).run();
}

void add_state_dicts(NodeTable& nodes) {
  add_state_dicts(nodes, [&](NodeId object) { return parts_of_torch_module(nodes, object); });
}

NodeId state_dict_or_self(const NodeTable& nodes, NodeId node) {
  if (nodes.kind(node) != ValueKind::object) return node;
  const NodeId dict = nodes.items(node)[kStateDict];
  return dict == kNoNode ? node : dict;
}

}  // namespace transload
