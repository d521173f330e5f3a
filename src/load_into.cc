// Filling tensors that already live, top to bottom: what fits what ► Plan ► run ► the same tensors, new values.
//
// match() (plan/match.cc) finds all that does not fit before a byte moves. The bytes come from a file, or from other
// tensors; a plan of either kind goes straight into the live tensors' own storages.
#include "io/file.h"
#include "plan/match.h"
#include "plan/plans.h"
#include "transfer/engine.h"
#include "transfer/memories.h"
#include "transload/transload.h"
#include "verify.h"

namespace transload {
namespace {

// How far the tensors of a fill came that failed. A key counts as torn once some of its bytes may be new.
enum class Far : std::uint8_t { untouched, torn, filled };

std::vector<Far> far_of(const Plan& plan, const std::vector<Reached>& reached) {
  std::vector<bool> any(plan.keys.size()), all(plan.keys.size(), true);
  for (std::size_t t = 0; t < reached.size(); ++t) {
    const std::uint32_t key = plan.transfers[t].label;
    any[key] = any[key] || reached[t] != Reached::untouched;
    all[key] = all[key] && reached[t] == Reached::done;
  }
  std::vector<Far> far;
  for (std::size_t k = 0; k < any.size(); ++k)
    far.push_back(!any[k] ? Far::untouched : all[k] ? Far::filled : Far::torn);
  return far;
}

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

// Runs the plan of a fill. `index`: of the files it reads; null if it reads none.
void run_fill(const Plan& plan, const Index* index, const IoOptions& io) {
  const std::vector<Storage> memories = memories_of(plan);
  Outcome outcome;
  try {
    run(plan, {.index = index, .memories = memories}, io, outcome);
    if (index) require_unchanged(index->files);
  } catch (Error& error) {
    error.add(told(plan.keys, far_of(plan, outcome.reached)));
    throw;
  }
}

std::vector<std::uint32_t> pieces_read_by(const Plan& plan, const Index& index) {
  std::vector<bool> used(index.pieces.size());
  std::vector<std::uint32_t> pieces;
  for (const Transfer& t : plan.transfers) {
    if (!used[t.reads] && index.pieces[t.reads].crc32) pieces.push_back(t.reads);
    used[t.reads] = true;
  }
  return pieces;
}

// Loads the storages that are needed, and no others, beside the live tensors. Everything that can fail while a file is
// read has failed before the first live byte changes.
void fill_transactionally(Matches matches, const Index& index, const FillOptions& options) {
  std::vector<bool> wanted(index.storages.size());
  for (const Match& m : matches.filled)
    if (m.source_storage != Value::kNoStorage) wanted[m.source_storage] = true;
  const LoadOptions loading{.map_location = kCpu, .verify = options.verify, .io = options.io};
  const Plan plan = plan_load_of(index, loading, memory_for(index, kCpu), wanted);
  const std::vector<Storage> memories = memories_of(plan);
  Outcome outcome;
  run(plan, {.index = &index, .memories = memories}, options.io, outcome);
  if (options.verify) verify_loaded(index, plan, outcome, options.io);
  require_unchanged(index.files);

  const std::vector<Storage> storages = storages_in(plan, memories);
  for (Match& m : matches.filled) {
    if (m.source_storage == Value::kNoStorage) continue;
    const Tensor& on_meta = m.source;
    Tensor loaded(storages[m.source_storage], on_meta.dtype(), on_meta.shape(), on_meta.stride(),
                  on_meta.storage_offset());
    loaded.conj = on_meta.conj;
    loaded.neg = on_meta.neg;
    m.source = std::move(loaded);
  }
  run_fill(plan_copy(matches, options.io), nullptr, options.io);
}

}  // namespace

FillResult load_into(const StateDict& live, const std::filesystem::path& path,
                     const FillOptions& options) {
  OpenOptions open_options = options.open;
  open_options.select = options.select;
  open_options.values_by_name = true;
  return load_into(live, open(path, open_options), options);
}

FillResult load_into(const StateDict& live, const Index& index, const FillOptions& options) {
  const Matches matches = match(live, index.contents, options, index.files.front().name);
  if (options.verify) verify_metadata(index, options.io);
  if (options.transactional) {
    fill_transactionally(matches, index, options);
    return matches.result;
  }
  const Plan plan = plan_fill(matches, index, options.io);
  if (options.verify) verify_pieces(index, pieces_read_by(plan, index), options.io);
  run_fill(plan, &index, options.io);
  return matches.result;
}

Plan plan_load_into(const StateDict& live, const Index& index, const FillOptions& options) {
  return plan_fill(match(live, index.contents, options, index.files.front().name), index,
                   options.io);
}

FillResult load_state_dict(const StateDict& live, const StateDict& source,
                           const FillOptions& options) {
  if (options.verify || options.transactional) {
    throw UnsupportedError(std::string("load_state_dict: ") +
                           (options.verify ? "verify" : "transactional") +
                           " is for files; the source is in memory, and nothing of it is read "
                           "from a file. Leave it false");
  }
  const Matches matches = match(live, source, options, "the state dict");
  for (const Match& m : matches.filled) {
    if (m.source.device().kind != DeviceKind::meta || m.source.numel() == 0 ||
        m.live.device().kind == DeviceKind::meta)
      continue;
    throw MismatchError("the state dict: \"" + m.key +
                        "\" is on meta, where there are no bytes; nothing was changed");
  }
  run_fill(plan_copy(matches, options.io), nullptr, options.io);
  return matches.result;
}

}  // namespace transload
