#include "plan/match.h"

#include <algorithm>
#include <map>
#include <set>

#include "plan/select.h"
#include "transload/error.h"
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

// The option that makes the unexpected keys the missing ones, if only a prefix differs; else empty.
// It can be pasted.
std::string way_out(const Matches& matches, const StateDict& source, const Selection& selection) {
  const auto& [missing, unexpected] = matches.result;
  if (missing.empty() || unexpected.empty()) return "";
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

// Names a key of the file for the first few missing ones that it nearly is.
void add_near_keys(Error& error, const FillResult& result) {
  constexpr std::size_t kMost = 5;
  std::vector<std::string> left = result.unexpected;
  for (std::size_t i = 0; i < std::min(result.missing.size(), kMost); ++i) {
    const std::string& missing = result.missing[i];
    const std::string near(nearest(missing, left));
    if (near.empty()) continue;
    const std::string text = in_quotes(missing) + " is nearly the file's " + in_quotes(near);
    const bool can_rename = !has_wildcard(missing) && !has_wildcard(near);
    error.add(can_rename ? text + "; rename {" + in_quotes(near) + ", " + in_quotes(missing) +
                               "} matches them"
                         : text);
    std::erase(left, near);
  }
}

void add_way_out(Error& error, const Matches& matches, const StateDict& source,
                 const Selection& selection) {
  // Patterns are of keys before they are renamed, which the lists of keys do not have.
  if (!selection.rename.empty()) return;
  if (const std::string out = way_out(matches, source, selection); !out.empty())
    error.add(out);
  else
    add_near_keys(error, matches.result);
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

// Why a tensor cannot fill a live one; empty if it can.
std::string misfit(const Match& match, const std::string& source_name) {
  const Tensor &from = match.source, &to = match.live;
  const std::string key = in_quotes(match.key);
  if (from.shape() != to.shape()) {
    return "size mismatch for " + key + ": " + from.shape().str() + " in " + source_name + ", " +
           to.shape().str() + " in the live model";
  }
  if (from.dtype() != to.dtype() && !can_cast(from.dtype(), to.dtype())) {
    return key + ": " + std::string(name(from.dtype())) + " in " + source_name +
           " cannot be cast to " + std::string(name(to.dtype())) + " in the live model";
  }
  if (match.source_storage == Value::kNoStorage && to.device().kind != DeviceKind::meta)
    return key + ": was saved on meta, so " + source_name + " has no bytes for it";
  return "";
}

}  // namespace

Matches match(const StateDict& live, const StateDict& source, const FillOptions& options,
              const std::string& source_name) {
  const auto [by_name, order] = selected_tensors(source, options.select, source_name);
  Matches matches;
  auto& [missing, unexpected] = matches.result;
  std::vector<std::string> misfits;
  std::set<std::string> wanted;
  for (const NamedTensor& target : live.tensors()) {
    wanted.insert(target.name);
    const auto found = by_name.find(target.name);
    if (found == by_name.end()) {
      missing.push_back(target.name);
      continue;
    }
    const Value& value = found->second;
    Match one{target.name, value.tensor(), target.value.tensor(), value.storage_number()};
    // torch fills a 0-dimensional parameter from the first element of a 1-dimensional one.
    const Tensor& from = one.source;
    if (one.live.shape().empty() && from.shape().size() == 1 && from.shape()[0] > 0)
      one.source = Tensor(from.storage(), from.dtype(), Dims{}, Dims{}, from.storage_offset());
    std::string why = misfit(one, source_name);
    if (why.empty())
      matches.filled.push_back(std::move(one));
    else
      misfits.push_back(std::move(why));
  }
  for (const std::string& key : order) {
    if (!wanted.contains(key)) unexpected.push_back(key);
  }
  const bool keys_differ = options.strict && (!missing.empty() || !unexpected.empty());
  if (misfits.empty() && !keys_differ) return matches;
  MismatchError error(source_name + " does not fit the live model; nothing was changed");
  if (keys_differ && !missing.empty()) error.add("missing keys: " + quoted_list(missing));
  if (keys_differ && !unexpected.empty()) error.add("unexpected keys: " + quoted_list(unexpected));
  for (const std::string& line : misfits) error.add(line);
  if (keys_differ) add_way_out(error, matches, source, options.select);
  throw error;
}

}  // namespace transload
