#include "plan/match.h"

#include <algorithm>
#include <map>
#include <set>

#include "plan/select.h"
#include "types/nearest.h"

namespace transload {
namespace {

std::string quoted_list(const std::vector<std::string>& keys) {
  constexpr std::size_t kMost = 20;
  std::string text;
  for (std::size_t i = 0; i < std::min(keys.size(), kMost); ++i)
    text += (i ? ", \"" : "\"") + keys[i] + "\"";
  if (keys.size() > kMost) text += " and " + std::to_string(keys.size() - kMost) + " more";
  return text;
}

// The rename that would make the unexpected keys the missing ones, if a prefix is all that keeps them apart.
std::string way_out(const FillResult& result) {
  if (result.missing.empty() || result.unexpected.empty()) return "";
  const auto is_missing = [&](std::string_view key) {
    return std::find(result.missing.begin(), result.missing.end(), key) != result.missing.end();
  };
  const std::string &file_key = result.unexpected.front(), &live_key = result.missing.front();
  for (std::size_t dot = file_key.find_first_of("./"); dot != std::string::npos;
       dot = file_key.find_first_of("./", dot + 1)) {
    const std::string prefix = file_key.substr(0, dot + 1);
    if (!is_missing(std::string_view(file_key).substr(dot + 1))) continue;
    if (prefix.back() == '/')
      return "the model is one part of this checkpoint: pass at = \"" +
             prefix.substr(0, prefix.size() - 1) + "\"";
    return "the file's keys begin with \"" + prefix + "\": rename {\"" + prefix +
           "*\", \"*\"} strips it";
  }
  for (std::size_t dot = live_key.find('.'); dot != std::string::npos;
       dot = live_key.find('.', dot + 1)) {
    const std::string rest = live_key.substr(dot + 1);
    if (std::find(result.unexpected.begin(), result.unexpected.end(), rest) ==
        result.unexpected.end())
      continue;
    const std::string prefix = live_key.substr(0, dot + 1);
    return "the model's keys begin with \"" + prefix + "\": rename {\"*\", \"" + prefix +
           "*\"} adds it";
  }
  return "";
}

// Keys of the file that are nearly missing ones, for the first few of those.
void add_near_keys(Error& error, const FillResult& result) {
  constexpr std::size_t kMost = 5;
  std::vector<std::string> left = result.unexpected;
  for (std::size_t i = 0; i < std::min(result.missing.size(), kMost); ++i) {
    const std::string near(nearest(result.missing[i], left));
    if (near.empty()) continue;
    error.add("\"" + result.missing[i] + "\" is nearly the file's \"" + near +
              "\"; a rename makes them one");
    std::erase(left, near);
  }
}

}  // namespace

Matches match(const StateDict& live, const StateDict& source, const FillOptions& options,
              const std::string& source_name) {
  std::map<std::string, Value> by_name;
  std::vector<std::string> order;
  const std::string& at = options.select.at;
  const std::string part = at.empty() ? "" : at + "/";
  for (NamedTensor& tensor : source.tensors()) {
    if (!tensor.name.starts_with(part)) continue;
    const auto name =
        selected_name(options.select, std::string_view(tensor.name).substr(part.size()));
    if (!name) continue;
    if (by_name.try_emplace(*name, tensor.value).second) order.push_back(*name);
  }
  if (!at.empty() && order.empty()) {
    part_at(source, at);  // says what parts there are
    throw MismatchError(source_name + ": holds no tensors at \"" + at + "\"");
  }
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
    // torch fills a 0-dimensional parameter from one of 1 dimension: its first element.
    if (to.shape().empty() && from.shape().size() == 1 && from.shape()[0] > 0) {
      from = Tensor(from.storage(), from.dtype(), Dims{}, Dims{}, from.storage_offset());
    }
    if (from.shape() != to.shape()) {
      wrong.push_back("size mismatch for \"" + target.name + "\": " + from.shape().str() + " in " +
                      source_name + ", " + to.shape().str() + " in the live model");
    } else if (from.dtype() != to.dtype() && !can_cast(from.dtype(), to.dtype())) {
      wrong.push_back("\"" + target.name + "\": " + std::string(name(from.dtype())) +
                      " cannot be cast to " + std::string(name(to.dtype())));
    } else if (found->second.storage_number() == Value::kNoStorage &&
               to.device().kind != DeviceKind::meta) {
      wrong.push_back("\"" + target.name + "\" was saved on meta, without bytes");
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
    const std::string out = way_out(matches.result);
    if (out.empty())
      add_near_keys(error, matches.result);
    else
      error.add(out);
  }
  throw error;
}

}  // namespace transload
