#include "plan/match.h"

#include <algorithm>
#include <map>
#include <set>

#include "plan/select.h"
#include "types/nearest.h"
#include "types/quotes.h"
#include "values/paths.h"

namespace transload {
namespace {

std::string quoted_list(const std::vector<std::string>& keys) {
  constexpr std::size_t kMost = 20;
  std::string text;
  for (std::size_t i = 0; i < std::min(keys.size(), kMost); ++i)
    text += (i ? ", " : "") + in_quotes(keys[i]);
  if (keys.size() > kMost) text += " and " + std::to_string(keys.size() - kMost) + " more";
  return text;
}

bool contains(const std::vector<std::string>& keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

bool has_wildcard(std::string_view text) {
  return text.find_first_of("*?") != std::string_view::npos;
}

// The parts of a key that end in a '.' or a '/', the shortest first: "a.", "a.b.".
std::vector<std::string> prefixes_of(const std::string& key) {
  std::vector<std::string> prefixes;
  for (std::size_t end = key.find_first_of("./"); end != std::string::npos;
       end = key.find_first_of("./", end + 1))
    prefixes.push_back(key.substr(0, end + 1));
  return prefixes;
}

// The option that makes the unexpected keys the missing ones, if only a prefix differs; else empty. It can be pasted.
std::string way_out(const Matches& matches, const StateDict& source, const Selection& selection) {
  const auto& [missing, unexpected] = matches.result;
  // Patterns are of keys before they are renamed, which the lists do not have.
  if (missing.empty() || unexpected.empty() || !selection.rename.empty()) return "";
  const std::string &file_key = unexpected.front(), &live_key = missing.front();
  for (const std::string& prefix : prefixes_of(file_key)) {
    if (!contains(missing, std::string_view(file_key).substr(prefix.size()))) continue;
    const std::string at =
        (selection.at.empty() ? "" : selection.at + "/") + prefix.substr(0, prefix.size() - 1);
    if (prefix.back() == '/' && find_path(source.nodes(), source.root().id(), at) != kNoNode)
      return "the live model is one part of this checkpoint; pass at = " + in_quotes(at);
    if (has_wildcard(prefix)) continue;
    return "the file's keys begin with " + in_quotes(prefix) + "; rename {" +
           in_quotes(prefix + "*") + ", \"*\"} strips it";
  }
  for (const std::string& prefix : prefixes_of(live_key)) {
    // The rename is of all keys, so none may match already.
    if (!contains(unexpected, std::string_view(live_key).substr(prefix.size())) ||
        !matches.filled.empty() || has_wildcard(prefix))
      continue;
    return "the live model's keys begin with " + in_quotes(prefix) + "; rename {\"*\", " +
           in_quotes(prefix + "*") + "} adds it to the file's";
  }
  return "";
}

// Suggests a key of the file for the first few missing ones.
void add_near_keys(Error& error, const FillResult& result) {
  constexpr std::size_t kMost = 5;
  std::vector<std::string> left = result.unexpected;
  for (std::size_t i = 0; i < std::min(result.missing.size(), kMost); ++i) {
    const std::string near(nearest(result.missing[i], left));
    if (near.empty()) continue;
    error.add(in_quotes(result.missing[i]) + " is nearly the file's " + in_quotes(near) +
              "; rename {" + in_quotes(near) + ", " + in_quotes(result.missing[i]) +
              "} matches them");
    std::erase(left, near);
  }
}

// The source's tensors that are selected, by their new names.
struct Selected {
  std::map<std::string, Value> by_name;
  std::vector<std::string> order;  // as in the source
};

Selected selected_tensors(const StateDict& source, const Selection& selection,
                          const std::string& source_name) {
  Selected selected;
  for (const NamedTensor& tensor : part_at(source, selection.at).tensors()) {
    const auto name = selected_name(selection, tensor.name);
    if (!name) continue;
    if (selected.by_name.try_emplace(*name, tensor.value).second) {
      selected.order.push_back(*name);
    } else if (!selection.rename.empty()) {
      throw MismatchError(source_name + ": after the renames two tensors would be called " +
                          in_quotes(*name) + "; one of them is " + in_quotes(tensor.name) +
                          " before");
    }
  }
  if (!selection.at.empty() && selected.order.empty()) {
    throw MismatchError(source_name + ": no tensor is selected at " + in_quotes(selection.at));
  }
  return selected;
}

}  // namespace

Matches match(const StateDict& live, const StateDict& source, const FillOptions& options,
              const std::string& source_name) {
  const auto [by_name, order] = selected_tensors(source, options.select, source_name);
  Matches matches;
  std::vector<std::string> wrong;
  std::set<std::string> wanted;
  for (const NamedTensor& target : live.tensors()) {
    wanted.insert(target.name);
    const auto found = by_name.find(target.name);
    if (found == by_name.end()) {
      matches.result.missing.push_back(target.name);
      continue;
    }
    Tensor to = target.value.tensor(), from = found->second.tensor();
    // torch fills a 0-dimensional parameter from the first element of a 1-dimensional one.
    if (to.shape().empty() && from.shape().size() == 1 && from.shape()[0] > 0) {
      from = Tensor(from.storage(), from.dtype(), Dims{}, Dims{}, from.storage_offset());
    }
    if (from.shape() != to.shape()) {
      wrong.push_back("size mismatch for " + in_quotes(target.name) + ": " + from.shape().str() +
                      " in " + source_name + ", " + to.shape().str() + " in the live model");
    } else if (from.dtype() != to.dtype() && !can_cast(from.dtype(), to.dtype())) {
      wrong.push_back(in_quotes(target.name) + ": " + std::string(name(from.dtype())) + " in " +
                      source_name + " cannot be cast to " + std::string(name(to.dtype())) +
                      " in the live model");
    } else if (found->second.storage_number() == Value::kNoStorage &&
               to.device().kind != DeviceKind::meta) {
      wrong.push_back(in_quotes(target.name) + ": was saved on meta, so " + source_name +
                      " has no bytes for it");
    } else {
      matches.filled.push_back(
          {target.name, std::move(from), std::move(to), found->second.storage_number()});
    }
  }
  for (const std::string& key : order) {
    if (!wanted.contains(key)) matches.result.unexpected.push_back(key);
  }
  const bool keys_wrong =
      options.strict && (!matches.result.missing.empty() || !matches.result.unexpected.empty());
  if (wrong.empty() && !keys_wrong) return matches;
  MismatchError error(source_name + " does not fit the live model; nothing was changed");
  if (keys_wrong && !matches.result.missing.empty())
    error.add("missing keys: " + quoted_list(matches.result.missing));
  if (keys_wrong && !matches.result.unexpected.empty())
    error.add("unexpected keys: " + quoted_list(matches.result.unexpected));
  for (const std::string& line : wrong) error.add(line);
  if (keys_wrong) {
    const std::string out = way_out(matches, source, options.select);
    if (!out.empty())
      error.add(out);
    else if (options.select.rename.empty())
      add_near_keys(error, matches.result);
  }
  throw error;
}

}  // namespace transload
