// Filling tensors that already live, top to bottom: what fits what ► Plan ► Transfers ► the same tensors, new values.
//
// match() (plan/match.cc) finds all that does not fit before a byte moves. The copies are those of a load; their targets
// are the live tensors' own storages.
#include "format/format.h"
#include "io/file.h"
#include "plan/match.h"
#include "transfer/engine.h"
#include "transfer/verify.h"
#include "transload/transload.h"

namespace transload {
namespace {

// How far the tensors of a fill came that failed. A key counts as torn once some of its bytes may be new.
enum class Far : std::uint8_t { untouched, torn, filled };

std::string told(const std::vector<std::string>& keys, const std::vector<Far>& far) {
  std::string lists[3];
  for (std::size_t k = 0; k < keys.size(); ++k) {
    std::string& list = lists[static_cast<std::size_t>(far[k])];
    list += (list.empty() ? "\"" : ", \"") + keys[k] + "\"";
  }
  for (std::string& list : lists) {
    if (list.empty()) list = "none";
  }
  return "new: " + lists[2] + "\n  torn: " + lists[1] + "\n  untouched: " + lists[0];
}

std::vector<Far> far_of(const Plan& plan, const std::vector<Reached>& reached) {
  std::vector<bool> any(plan.keys.size()), all(plan.keys.size(), true);
  for (std::size_t t = 0; t < plan.transfers.size(); ++t) {
    const std::uint32_t key = plan.transfers[t].fills;
    any[key] = any[key] || reached[t] != Reached::untouched;
    all[key] = all[key] && reached[t] == Reached::done;
  }
  std::vector<Far> far;
  for (std::size_t k = 0; k < any.size(); ++k)
    far.push_back(!any[k] ? Far::untouched : all[k] ? Far::filled : Far::torn);
  return far;
}

std::vector<std::uint32_t> pieces_of(const Plan& plan) {
  std::vector<bool> used;
  std::vector<std::uint32_t> pieces;
  for (const Transfer& transfer : plan.transfers) {
    if (used.size() <= transfer.piece) used.resize(transfer.piece + 1);
    if (!used[transfer.piece]) pieces.push_back(transfer.piece);
    used[transfer.piece] = true;
  }
  return pieces;
}

// Everything that can fail while reading has failed before the first live byte changes.
FillResult fill_transactionally(const StateDict& live, const Index& index,
                                const FillOptions& options) {
  const StateDict staged = load(index, {.map_location = kCpu,
                                        .select = {.at = options.select.at},
                                        .verify = options.verify,
                                        .io = options.io});
  FillOptions of_part = options;
  of_part.select.at.clear();
  return load_state_dict(live, staged, of_part);
}

}  // namespace

FillResult load_into(const StateDict& live, const std::filesystem::path& path,
                     const FillOptions& options) {
  return load_into(live, open(path, options.open), options);
}

FillResult load_into(const StateDict& live, const Index& index, const FillOptions& options) {
  if (options.transactional) return fill_transactionally(live, index, options);
  const Matches matches = match(live, index.contents, options, index.files.front().name);
  const Plan plan = plan_fill(matches, index, options);
  if (options.verify) {
    verify_metadata(index);
    verify_pieces(index, pieces_of(plan), options.io);
  }
  const std::vector<Storage> targets = allocate_targets(plan, index);  // what already lives
  std::vector<Reached> reached;
  try {
    run_load(plan, index, targets, options.io, &reached);
    require_unchanged(index.files);
  } catch (Error& error) {
    error.add(told(plan.keys, far_of(plan, reached)));
    throw;
  }
  return matches.result;
}

Plan plan_load_into(const StateDict& live, const Index& index, const FillOptions& options) {
  return plan_fill(match(live, index.contents, options, index.files.front().name), index,
                   options);
}

FillResult load_state_dict(const StateDict& live, const StateDict& source,
                           const FillOptions& options) {
  const Matches matches = match(live, source, options, "the state dict");
  std::size_t done = 0;
  try {
    for (; done < matches.filled.size(); ++done)
      copy(matches.filled[done].live, matches.filled[done].source);
  } catch (Error& error) {
    std::vector<std::string> keys;
    std::vector<Far> far(matches.filled.size(), Far::untouched);
    for (std::size_t i = 0; i < far.size(); ++i) {
      keys.push_back(matches.filled[i].key);
      if (i <= done) far[i] = i < done ? Far::filled : Far::torn;
    }
    error.add(told(keys, far));
    throw;
  }
  return matches.result;
}

}  // namespace transload
