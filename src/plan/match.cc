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

// The bytes of a storage from a tensor's first element to the end of its last.
struct Extent {
  const void* storage;
  std::uint64_t begin, end;
  auto operator<=>(const Extent&) const = default;
};

Extent extent_of(const Tensor& tensor) {
  const std::uint64_t size = itemsize(tensor.dtype());
  const auto begin = static_cast<std::uint64_t>(tensor.storage_offset()) * size;
  std::uint64_t last = 0;  // element, from the first one
  for (std::size_t i = 0; i < tensor.shape().size(); ++i)
    last += static_cast<std::uint64_t>(tensor.shape()[i] - 1) *
            static_cast<std::uint64_t>(tensor.stride()[i]);
  return {tensor.storage().identity(), begin, begin + (last + 1) * size};
}

// Whether a tensor has elements that are the same bytes. torch refuses to copy into those:
// aten/src/ATen/MemoryOverlap.cpp, has_internal_overlap.
bool overlaps_itself(const Tensor& tensor) {
  if (tensor.numel() == 0) return false;
  for (std::size_t i = 0; i < tensor.shape().size(); ++i) {
    if (tensor.shape()[i] > 1 && tensor.stride()[i] == 0) return true;
  }
  return false;
}

// The live bytes that are filled: of tied weights, whose other names need not be in the source.
class FilledBytes {
 public:
  explicit FilledBytes(const std::vector<Match>& filled) {
    for (const Match& match : filled) {
      if (match.live.numel() == 0) continue;
      const Extent extent = extent_of(match.live);
      const bool has_gaps = extent.end - extent.begin > match.live.nbytes();
      if (has_gaps)
        views_.insert(view_of(match.live));
      else
        extents_.push_back(extent);
    }
    std::sort(extents_.begin(), extents_.end());
    std::size_t last = 0;  // of those that are merged
    for (std::size_t i = 1; i < extents_.size(); ++i) {
      if (extents_[i].storage == extents_[last].storage && extents_[i].begin <= extents_[last].end)
        extents_[last].end = std::max(extents_[last].end, extents_[i].end);
      else
        extents_[++last] = extents_[i];
    }
    if (!extents_.empty()) extents_.resize(last + 1);
  }

  bool contain(const Tensor& tensor) const {
    if (tensor.numel() == 0) return false;
    if (views_.contains(view_of(tensor))) return true;
    const Extent extent = extent_of(tensor);
    auto after = std::upper_bound(extents_.begin(), extents_.end(), extent.begin,
                                  [&](std::uint64_t begin, const Extent& other) {
                                    return std::pair(extent.storage, begin) <
                                           std::pair(other.storage, other.begin);
                                  });
    if (after == extents_.begin()) return false;
    --after;
    return after->storage == extent.storage && extent.end <= after->end;
  }

 private:
  using View = std::pair<Extent, std::string>;
  static View view_of(const Tensor& tensor) {
    return {extent_of(tensor), tensor.shape().str() + tensor.stride().str()};
  }

  std::vector<Extent> extents_;  // without gaps; sorted, and apart from each other
  std::set<View> views_;         // of tensors with gaps between their elements
};

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
  const bool has_no_bytes = match.source_storage == Value::kNoStorage;
  if (to.device().kind == DeviceKind::meta && to.numel() > 0 && !has_no_bytes) {
    return key +
           ": lives on meta, where it has no memory to be filled; give it memory first (in "
           "PyTorch: model.to_empty(device=…))";
  }
  if (overlaps_itself(to)) {
    return key + ": several elements of the live tensor are the same memory (shape " +
           to.shape().str() + ", stride " + to.stride().str() +
           ", as expand() makes it), so it cannot hold the file's values; clone() it first";
  }
  if (has_no_bytes && to.device().kind != DeviceKind::meta)
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
  std::vector<std::pair<std::string, Tensor>> absent;  // live, and not in the source
  for (const NamedTensor& target : live.tensors()) {
    wanted.insert(target.name);
    const auto found = by_name.find(target.name);
    if (found == by_name.end()) {
      absent.emplace_back(target.name, target.value.tensor());
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
  const FilledBytes filled_bytes(matches.filled);
  for (const auto& [key, tensor] : absent) {
    if (!filled_bytes.contain(tensor)) missing.push_back(key);
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
