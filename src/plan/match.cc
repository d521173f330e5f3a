#include "plan/match.h"

#include <algorithm>
#include <map>
#include <set>

#include "plan/select.h"
#include "plan/way_out.h"
#include "transload/error.h"
#include "types/quotes.h"

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

// The source's tensors that are selected, by their new names.
struct Selected {
  std::map<std::string, NamedTensor> by_name;  // whose own names are those in the source
  std::vector<std::string> order;              // as in the source
};

Selected selected_tensors(const StateDict& source, const Selection& selection,
                          const std::string& source_name) {
  Selected selected;
  for (const NamedTensor& tensor : part_at(source, selection.at).tensors()) {
    const auto name = selected_name(selection, tensor.name);
    if (!name) continue;
    if (selected.by_name.try_emplace(*name, tensor).second) {
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
  std::vector<std::string> misfits, unfit_sources;
  std::set<std::string> wanted;
  for (const NamedTensor& target : live.tensors()) {
    wanted.insert(target.name);
    const auto found = by_name.find(target.name);
    if (found == by_name.end()) {
      missing.push_back(target.name);
      continue;
    }
    const Value& value = found->second.value;
    Match one{target.name, value.tensor(), target.value.tensor(), value.storage_number()};
    // torch fills a 0-dimensional parameter from the first element of a 1-dimensional one.
    const Tensor& from = one.source;
    if (one.live.shape().empty() && from.shape().size() == 1 && from.shape()[0] > 0)
      one.source = Tensor(from.storage(), from.dtype(), Dims{}, Dims{}, from.storage_offset());
    std::string why = misfit(one, source_name);
    if (why.empty()) {
      matches.filled.push_back(std::move(one));
    } else {
      misfits.push_back(std::move(why));
      unfit_sources.push_back(found->second.name);
    }
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
  Mismatch mismatch{source, options, std::move(wanted), {}, unfit_sources, matches.result};
  for (const std::string& key : order) mismatch.sources.push_back(by_name.at(key).name);
  if (keys_differ) advise_names(error, mismatch);
  if (!unfit_sources.empty()) advise_drop(error, mismatch);
  throw error;
}

}  // namespace transload
