#include "format/torchscript.h"

#include <algorithm>
#include <map>
#include <set>

#include "transload/error.h"
#include "values/modules.h"

namespace transload::torchscript {
namespace {

constexpr std::string_view kPackage = "__torch__";

// A class as its source lists it.
struct ClassSource {
  bool is_module = false;
  std::set<std::string, std::less<>> parameters_and_buffers;
};

// Adds the names of `__parameters__ = ["weight", "bias", ]`.
void add_names(std::string_view line, std::set<std::string, std::less<>>& names) {
  for (std::size_t at = line.find('"'); at != line.npos; at = line.find('"', at + 1)) {
    const std::size_t end = line.find('"', at + 1);
    if (end == line.npos) return;
    names.emplace(line.substr(at + 1, end - at - 1));
    at = end;
  }
}

// The classes of one source file, by name.
std::map<std::string, ClassSource, std::less<>> classes_in(std::string_view source) {
  constexpr std::string_view kClass = "class ", kModule = "(Module):";
  std::map<std::string, ClassSource, std::less<>> classes;
  ClassSource* now = nullptr;
  for (std::size_t begin = 0; begin < source.size();) {
    const std::size_t end = std::min(source.find('\n', begin), source.size());
    const std::string_view line = source.substr(begin, end - begin);
    begin = end + 1;
    if (line.starts_with(kClass)) {
      const std::size_t name_end = std::min(line.find_first_of("(:"), line.size());
      now = &classes[std::string(line.substr(kClass.size(), name_end - kClass.size()))];
      now->is_module = line.substr(name_end) == kModule;
    } else if (now && (line.starts_with("  __parameters__ = [") ||
                       line.starts_with("  __buffers__ = ["))) {
      add_names(line, now->parameters_and_buffers);
    } else if (line.starts_with("  def ")) {
      now = nullptr;  // what a function's text says is not about the class
    }
  }
  return classes;
}

// The sources of a program, each file read once.
class Sources {
 public:
  explicit Sources(const ReadMember& read_member) : read_member_(read_member) {}

  // Null: the archive does not have the class. `module`: "__torch__.a.b", whose classes are in code/__torch__/a/b.py.
  const ClassSource* find(std::string_view module, std::string_view name) {
    const auto [file, is_new] = files_.try_emplace(std::string(module));
    if (is_new) {
      std::string path = "code/" + file->first + ".py";
      std::replace(path.begin(), path.end() - 3, '.', '/');
      if (const auto source = read_member_(path)) file->second = classes_in(*source);
    }
    const auto found = file->second.find(name);
    return found == file->second.end() ? nullptr : &found->second;
  }

 private:
  const ReadMember& read_member_;
  std::map<std::string, std::map<std::string, ClassSource, std::less<>>> files_;
};

bool is_in_package(std::string_view module) {
  return module == kPackage ||
         (module.starts_with(kPackage) && module.substr(kPackage.size()).starts_with('.'));
}

bool is_tensor(const NodeTable& nodes, NodeId node) {
  const ValueKind kind = nodes.kind(node);
  return kind == ValueKind::tensor ||
         (kind == ValueKind::object && nodes.items(node)[kTensorParts] != kNoNode);
}

std::optional<ModuleParts> parts_of(const NodeTable& nodes, NodeId object, Sources& sources) {
  const NodeId callable = nodes.items(object)[kCallable], state = nodes.attributes(object);
  if (state == kNoNode || !is_dict(nodes.kind(state)) ||
      nodes.kind(callable) != ValueKind::global || !is_in_package(nodes.module_of(callable)))
    return std::nullopt;
  const ClassSource* const source =
      sources.find(nodes.module_of(callable), nodes.name_of(callable));
  if (source && !source->is_module) return std::nullopt;
  ModuleParts parts;
  const auto entries = nodes.entries(state);
  for (std::size_t i = 0; i < entries.size(); i += 2) {
    if (nodes.kind(entries[i]) != ValueKind::text) continue;
    if (!is_tensor(nodes, entries[i + 1]))
      parts.modules.emplace_back(entries[i], entries[i + 1]);  // those that are not are passed over
    else if (!source || source->parameters_and_buffers.contains(nodes.as_text(entries[i])))
      parts.tensors.emplace_back(entries[i], entries[i + 1]);
  }
  return parts;
}

}  // namespace

void add_state_dict(NodeTable& nodes, const ReadMember& read_member) {
  Sources sources(read_member);
  add_state_dicts(nodes, [&](NodeId object) { return parts_of(nodes, object, sources); });
  const NodeId dict = state_dict_or_self(nodes, nodes.root);
  if (dict != nodes.root && nodes.entries(dict).empty()) nodes.set_state_dict(nodes.root, kNoNode);
}

void add_state_dict_of_constants(NodeTable& nodes, NodeId constants) {
  if (nodes.kind(constants) != ValueKind::tuple || nodes.kind(nodes.root) != ValueKind::object)
    return;
  const std::vector<NodeId> items(nodes.items(constants).begin(), nodes.items(constants).end());
  const NodeId dict = nodes.container(ValueKind::ordered_dict);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!is_tensor(nodes, items[i])) continue;
    const NodeId key = nodes.text("CONSTANTS.c" + std::to_string(i));
    nodes.set(dict, key, items[i]);
  }
  if (!nodes.entries(dict).empty()) nodes.set_state_dict(nodes.root, dict);
}

}  // namespace transload::torchscript
