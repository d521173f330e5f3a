// Loading, top to bottom: file ► Index ► Plan ► Transfers ► tensors on their devices.
//
// open() (format/formats.cc) finds the format and reads what the file holds, no tensor's bytes. plan_load()
// (plan/plan_load.cc) decides everything before anything has an effect. run_load() (transfer/engine.cc) moves each byte
// once, straight to where it is to live.
#include <algorithm>
#include <set>

#include "device/backend.h"
#include "format/format.h"
#include "io/crc32.h"
#include "io/file.h"
#include "plan/match.h"
#include "plan/select.h"
#include "transfer/engine.h"
#include "transfer/verify.h"
#include "transload/transload.h"
#include "types/node_table.h"

namespace transload {
namespace {

// Each stored storage over its place in the allocated targets. One that is not loaded, or goes to meta, has no bytes.
std::vector<Storage> storages_in(const Plan& plan, const Index& index,
                                 std::span<const Storage> targets) {
  std::vector<Storage> storages;
  storages.reserve(plan.placements.size());
  for (std::size_t s = 0; s < plan.placements.size(); ++s) {
    const Placement& placement = plan.placements[s];
    if (placement.target == Placement::kNowhere) {
      storages.push_back(index.contents.storages()[s]);
      continue;
    }
    const Storage& target = targets[placement.target];
    if (placement.offset == 0 && placement.nbytes == target.nbytes()) {
      storages.push_back(target);
      continue;
    }
    std::byte* const data = target.data() + placement.offset;
    storages.emplace_back(target.device(), data, placement.nbytes,
                          std::shared_ptr<void>(target.owner(), data));
  }
  return storages;
}

// Tensors whose storages were cast are of the new dtype.
StateDict with_dtype(const StateDict& contents, const Plan& plan, const Index& index,
                     std::optional<Dtype> dtype) {
  if (!dtype) return contents;
  const auto nodes = std::make_shared<NodeTable>(contents.nodes());
  for (NodeId node = 0; node < nodes->size(); ++node) {
    if (nodes->kind(node) != ValueKind::tensor) continue;
    TensorRow& row = nodes->row(node);
    if (row.storage == TensorRow::kNoStorage) continue;
    const bool was_cast = info(row.dtype).kind == DtypeKind::floating && row.dtype != *dtype &&
                          can_cast(row.dtype, *dtype) &&
                          plan.placements[row.storage].nbytes / itemsize(*dtype) ==
                              index.storages[row.storage].nbytes / itemsize(row.dtype);
    if (was_cast) row.dtype = *dtype;
  }
  const auto storages = contents.storages();
  return StateDict(nodes, {storages.begin(), storages.end()});
}

// The keys of a fill that failed, by how far it came.
std::string filled_so_far(const Plan& plan, const std::vector<Reached>& reached) {
  enum Far { none, torn, whole };
  std::vector<int> first(plan.keys.size(), -1);
  std::vector<Far> far(plan.keys.size(), whole);
  for (std::size_t t = 0; t < plan.transfers.size(); ++t) {
    const std::uint32_t key = plan.transfers[t].fills;
    const Far now = t >= reached.size() || reached[t] == Reached::untouched ? none
                    : reached[t] == Reached::done                           ? whole
                                                                            : torn;
    far[key] = first[key] < 0 ? now : far[key] == now ? now : torn;
    first[key] = 0;
  }
  const auto listed = [&](Far wanted) {
    std::string text;
    for (std::size_t k = 0; k < far.size(); ++k) {
      if (far[k] == wanted) text += (text.empty() ? "\"" : ", \"") + plan.keys[k] + "\"";
    }
    return text.empty() ? std::string("none") : text;
  };
  return "new: " + listed(whole) + "\n  torn: " + listed(torn) + "\n  untouched: " + listed(none);
}

std::vector<std::uint32_t> pieces_of(const Plan& plan) {
  std::set<std::uint32_t> pieces;
  for (const Transfer& transfer : plan.transfers) pieces.insert(transfer.piece);
  return {pieces.begin(), pieces.end()};
}

// What of the files is no tensor's: the values above all.
void verify_texts(const Index& index) {
  for (const File& file : index.files) {
    const Format& format = format_of(file);
    if (format.verify_texts) format.verify_texts(file, crc32_of);
  }
}

FillResult fill_transactionally(const StateDict& live, const std::filesystem::path& path,
                                const FillOptions& options) {
  // Everything that can fail while reading has failed before the first live byte changes.
  const StateDict staged = load(path, {.map_location = kCpu,
                                       .select = {},
                                       .verify = options.verify,
                                       .engine = options.engine,
                                       .open = options.open});
  FillOptions now = options;
  now.transactional = false;
  return load_state_dict(live, staged, now);
}

}  // namespace

std::vector<MemoryUse> memory_for(const Index& index, const MapLocation& map_location) {
  std::set<Device> wanted{kCpu, kMeta};
  bool any = false;
  for (const auto& rule : map_location.rules()) {
    any = any || rule.of == MapLocation::Rule::Of::automatic ||
          rule.of == MapLocation::Rule::Of::function;
    wanted.insert(rule.device);
  }
  const bool all_mapped = std::any_of(
      map_location.rules().begin(), map_location.rules().end(),
      [](const MapLocation::Rule& rule) { return rule.of == MapLocation::Rule::Of::everything; });
  for (const std::string& tag : index.locations) {
    if (all_mapped) break;
    const bool mapped =
        std::any_of(map_location.rules().begin(), map_location.rules().end(),
                    [&](const MapLocation::Rule& rule) {
                      return rule.of == MapLocation::Rule::Of::tag && rule.pattern == tag;
                    });
    if (const auto device = Device::parse(tag); device && !mapped) wanted.insert(*device);
  }
  std::vector<MemoryUse> memory;
  for (const Device device : devices()) {
    if (any || wanted.contains(device)) memory.push_back(memory_use(device));
  }
  return memory;
}

StateDict load(const std::filesystem::path& path, const LoadOptions& options) {
  return load(open(path, options.open), options);  // metadata only
}

StateDict load(Index index, const LoadOptions& options) {
  index.contents = select(index.contents, options.select);
  const std::vector<MemoryUse> memory = memory_for(index, options.map_location);
  const Plan plan = plan_load(index, options, memory);  // every decision, before any effect; pure
  // too little memory fails here, early
  const std::vector<Storage> targets = allocate_targets(plan, index, options.allocate);
  if (options.verify) {
    verify_texts(index);
    run_verified_load(plan, index, targets, options.engine);
  } else {
    run_load(plan, index, targets, options.engine);  // the only step that takes time
  }
  require_unchanged(index.files);
  const StateDict contents = with_dtype(index.contents, plan, index, options.dtype);
  return contents.over(storages_in(plan, index, targets));  // same tensors, now over real bytes
}

FillResult load_into(const StateDict& live, const std::filesystem::path& path,
                     const FillOptions& options) {
  if (options.transactional) return fill_transactionally(live, path, options);
  return load_into(live, open(path, options.open), options);
}

FillResult load_into(const StateDict& live, const Index& index, const FillOptions& options) {
  const FillResult result =
      match(live, index.contents, options, index.files.front().path.string()).result;
  const Plan plan = plan_load_into(live, index, options);
  if (options.verify) {
    verify_texts(index);
    verify_pieces(index, pieces_of(plan), options.engine);
  }
  const std::vector<Storage> targets = allocate_targets(plan, index);  // what already lives
  std::vector<Reached> reached;
  try {
    run_load(plan, index, targets, options.engine, &reached);
    require_unchanged(index.files);
  } catch (Error& error) {
    error.add(filled_so_far(plan, reached));
    throw;
  }
  return result;
}

VerifyResult verify(const std::filesystem::path& path, const Engine& engine,
                    const OpenOptions& open_options) {
  const Index index = open(path, open_options);
  verify_texts(index);
  VerifyResult result;
  std::vector<std::uint32_t> all;
  for (std::uint32_t p = 0; p < index.pieces.size(); ++p) {
    const std::uint64_t nbytes = index.storages[index.pieces[p].storage].nbytes;
    (index.pieces[p].crc32 ? result.nbytes : result.without_crc) += nbytes;
    all.push_back(p);
  }
  verify_pieces(index, all, engine);
  return result;
}

FillResult load_state_dict(const StateDict& live, const StateDict& source,
                           const FillOptions& options) {
  const Matches matches = match(live, source, options, "the state dict");
  std::size_t done = 0;
  try {
    for (; done < matches.filled.size(); ++done)
      copy(matches.filled[done].live, matches.filled[done].source);
  } catch (Error& error) {
    std::string keys[2];
    for (std::size_t i = 0; i < matches.filled.size(); ++i) {
      if (i != done)
        keys[i > done] += (keys[i > done].empty() ? "\"" : ", \"") + matches.filled[i].key + "\"";
    }
    error.add("new: " + (keys[0].empty() ? "none" : keys[0]) + "\n  torn: \"" +
              matches.filled[done].key +
              "\"\n  untouched: " + (keys[1].empty() ? "none" : keys[1]));
    throw;
  }
  return matches.result;
}

}  // namespace transload
