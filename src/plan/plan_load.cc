// plan_load: where each storage goes and why, the memory to allocate for it, and the copies. Pure.
#include <algorithm>
#include <map>

#include "plan/select.h"
#include "plan/transfers.h"
#include "types/checked.h"
#include "values/names.h"
#include "values/node_table.h"
#include "plan/pieces.h"
#include "types/scalar.h"

namespace transload {
namespace {

// Storages smaller than kSmall lie side by side in slabs of at most kSlab: a thousand of them are one allocation. Larger
// ones have an allocation of their own, which goes when they do.
constexpr std::uint64_t kSmall = 256 << 10, kSlab = 4 << 20;

struct Decision {
  Device device;
  std::uint32_t rule;
};

// How the tensors that are to be loaded use a storage.
struct Use {
  bool any = false, one_dtype = true;
  Dtype dtype = Dtype::uint8;  // of the first
  std::uint64_t itemsize = 1;  // the largest
};

class Planner {
 public:
  Planner(const Index& index, const LoadOptions& options, const std::vector<MemoryUse>& memory)
      : index_(index),
        options_(options),
        memory_(memory),
        contents_(select(index.contents, options.select)) {
    plan_.slot_nbytes = slot_nbytes(options.io.staging_nbytes);
    for (const auto& rule : options.map_location.rules()) plan_.rules.push_back(rule.str());
    plan_.rules.push_back("where it was saved");
    for (const MemoryUse& use : memory) {
      left_[use.device] = std::min(use.free, limit(use.device));
      alignment_[use.device] = use.alignment;
    }
  }

  Plan run() {
    const std::vector<std::uint32_t> pieces = pieces_by_storage(index_);
    find_used();
    name_storages();
    std::vector<std::uint32_t> order;  // in the order of the file
    for (std::uint32_t s = 0; s < index_.storages.size(); ++s) {
      if (used_[s].any) order.push_back(s);
    }
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return place(pieces, a) < place(pieces, b);
    });
    plan_.placements.resize(index_.storages.size());
    for (const std::uint32_t s : order) place_storage(s, pieces[s]);
    for (auto& [device, need] : needs_) plan_.devices.push_back(need);
    check_memory();
    plan_.contents = cast_contents();
    finish(plan_, index_, options_.io);
    return std::move(plan_);
  }

 private:
  static constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};

  std::uint64_t limit(Device device) const {
    for (const auto& [of, nbytes] : options_.memory_limits) {
      if (of == device) return nbytes;
    }
    return kNoLimit;
  }

  std::pair<std::uint64_t, std::uint32_t> place(const std::vector<std::uint32_t>& pieces,
                                                std::uint32_t s) const {
    return {pieces[s] == kNoPiece ? 0 : index_.pieces[pieces[s]].extent.offset, s};
  }

  // Which storages any tensor that is to be loaded uses, and as what.
  void find_used() {
    const NodeTable& nodes = contents_.nodes();
    used_.resize(index_.storages.size());
    const std::vector<std::uint32_t> mentions = nodes.mentions();
    for (NodeId node = 0; node < nodes.size(); ++node) {
      if (mentions[node] == 0) continue;
      const ValueKind kind = nodes.kind(node);
      if (kind != ValueKind::tensor && kind != ValueKind::storage) continue;
      const std::uint32_t s = nodes.storage_number(node);
      if (s == TensorRow::kNoStorage) continue;
      const Dtype dtype = kind == ValueKind::tensor ? nodes.row(node).dtype : nodes.as_dtype(node);
      Use& use = used_[s];
      if (!use.any) use.dtype = dtype;
      // A storage that stands for itself says how many elements it has: it stays what it is.
      use.one_dtype = use.one_dtype && use.dtype == dtype && kind == ValueKind::tensor;
      use.itemsize = std::max(use.itemsize, itemsize(dtype));
      use.any = true;
    }
  }

  // The tensors of storages that are cast are of the new dtype.
  StateDict cast_contents() const {
    if (!options_.dtype) return contents_;
    const auto nodes = std::make_shared<NodeTable>(contents_.nodes());
    for (NodeId node = 0; node < nodes->size(); ++node) {
      if (nodes->kind(node) != ValueKind::tensor) continue;
      TensorRow& row = nodes->row(node);
      if (row.storage != TensorRow::kNoStorage && casts(row.storage)) row.dtype = *options_.dtype;
    }
    std::vector<Storage> storages(contents_.storages().begin(), contents_.storages().end());
    for (std::uint32_t s = 0; s < storages.size(); ++s) {
      if (casts(s)) storages[s] = Storage(kMeta, nullptr, nbytes_there(s), storages[s].owner());
    }
    return StateDict(nodes, std::move(storages));
  }

  // Only rules over keys and functions need names.
  void name_storages() {
    const auto& rules = options_.map_location.rules();
    const bool needed = std::any_of(rules.begin(), rules.end(), [](const MapLocation::Rule& rule) {
      return rule.of == MapLocation::Rule::Of::key || rule.of == MapLocation::Rule::Of::function;
    });
    if (!needed) return;
    keys_ = names_by_storage(contents_);
  }

  std::uint64_t nbytes_there(std::uint32_t s) const {
    const std::uint64_t stored = index_.storages[s].nbytes;
    return casts(s) ? stored / itemsize(used_[s].dtype) * itemsize(*options_.dtype) : stored;
  }

  bool casts(std::uint32_t s) const {
    const Use& use = used_[s];
    return options_.dtype && use.any && use.one_dtype &&
           info(use.dtype).kind == DtypeKind::floating && use.dtype != *options_.dtype &&
           can_cast(use.dtype, *options_.dtype);
  }

  // The first of the rules over keys that fits each tensor's name: they must agree.
  std::optional<Decision> by_key(std::uint32_t s) const {
    const auto& rules = options_.map_location.rules();
    std::optional<Decision> decided;
    const std::string* decided_by = nullptr;
    for (const std::string& key : keys_[s]) {
      for (std::uint32_t r = 0; r < rules.size(); ++r) {
        if (rules[r].of != MapLocation::Rule::Of::key || !fits(rules[r].pattern, key)) continue;
        if (decided && decided->device != rules[r].device) {
          throw PlacementError(in_file() + "\"" + *decided_by + "\" and \"" + key +
                               "\" share storage \"" + index_.storages[s].key +
                               "\", but the rules send it to " + decided->device.str() +
                               " and to " + rules[r].device.str());
        }
        if (!decided) decided = Decision{rules[r].device, r}, decided_by = &key;
        break;
      }
    }
    return decided;
  }

  Device automatic(std::uint32_t s) {
    const std::uint64_t nbytes = nbytes_there(s);
    const MemoryUse* best = nullptr;
    for (const MemoryUse& use : memory_) {
      const bool accelerator = use.device != kCpu && use.device != kMeta;
      if (!accelerator || left_[use.device] < nbytes + use.alignment + use.granularity) continue;
      // The device that was filled last goes on being filled: layers stay together.
      if (use.device == last_automatic_) return use.device;
      if (!best || left_[use.device] > left_[best->device]) best = &use;
    }
    return last_automatic_ = best ? best->device : kCpu;
  }

  Decision decide(std::uint32_t s) {
    const std::string& tag = index_.locations[index_.storages[s].location];
    const auto& rules = options_.map_location.rules();
    const std::optional<Decision> of_key = keys_.empty() ? std::nullopt : by_key(s);
    const MapLocation::Stored stored{
        tag, index_.storages[s].nbytes,
        keys_.empty() || keys_[s].empty() ? std::string_view() : keys_[s].front()};
    using Of = MapLocation::Rule::Of;
    for (std::uint32_t r = 0; r < rules.size(); ++r) {
      if (rules[r].of == Of::automatic) return {automatic(s), r};
      if (rules[r].of == Of::key) {
        if (of_key && of_key->rule == r) return *of_key;
      } else if (const auto device = rules[r].device_for(stored)) {
        return {*device, r};
      }
    }
    const auto saved = Device::parse(tag);
    if (saved && left_.contains(*saved)) return {*saved, static_cast<std::uint32_t>(rules.size())};
    throw PlacementError(in_file() + user_of(s) + " was saved on \"" + tag +
                         "\", which is not here; pass map_location \"cpu\", or " +
                         mappings_needed());
  }

  std::string user_of(std::uint32_t s) const {
    const std::string user = first_user(contents_, s);
    return user.empty() ? "storage \"" + index_.storages[s].key + "\"" : user;
  }

  // For each tag of a device that is not here.
  std::string mappings_needed() const {
    std::string text;
    for (const std::string& tag : index_.locations) {
      const auto device = Device::parse(tag);
      if (device && left_.contains(*device)) continue;
      text += (text.empty() ? "\"" : " and \"") + tag + "=cpu\"";
    }
    return text;
  }

  std::string in_file() const { return index_.files.front().name + ": "; }

  void place_storage(std::uint32_t s, std::uint32_t piece) {
    const Decision decision = decide(s);
    if (!left_.contains(decision.device)) {
      throw PlacementError(in_file() + "rule \"" + plan_.rules[decision.rule] + "\" sends " +
                           user_of(s) + " to " + decision.device.str() + ", which is not here");
    }
    const std::uint64_t nbytes = nbytes_there(s);
    Placement& placement = plan_.placements[s];
    placement.rule = decision.rule;
    placement.nbytes = nbytes;
    DeviceNeed& need = needs_
                           .try_emplace(decision.device, DeviceNeed{.device = decision.device,
                                                                    .free = left_[decision.device]})
                           .first->second;
    if (decision.device.kind == DeviceKind::meta) return;
    if (decision.device == kCpu && can_be_mapped(s, piece)) {
      need.mapped_nbytes += nbytes;
      return map(placement, index_.pieces[piece].extent);
    }
    need.storage_nbytes += nbytes;
    place_bytes(placement, decision.device, nbytes);
    left_[decision.device] -= std::min(left_[decision.device], nbytes);
    if (piece == kNoPiece) return;
    std::uint32_t steps = Transfer::kAsIs;
    const StoredStorage& stored = index_.storages[s];
    if (casts(s) || stored.swap_nbytes > 1) {
      steps = static_cast<std::uint32_t>(plan_.steps.size());
      Steps step;
      step.swap_nbytes = stored.swap_nbytes;
      step.from = casts(s) ? used_[s].dtype : unit_dtype(stored.swap_nbytes);
      step.to = casts(s) ? *options_.dtype : step.from;
      plan_.steps.push_back(step);
    }
    add_in_order(plan_, {.piece = piece,
                         .target = placement.target,
                         .piece_offset = 0,
                         .nbytes = stored.nbytes,
                         .target_offset = placement.offset,
                         .steps = steps,
                         .fills = s});
  }

  // Whether its bytes lie in the file as they are to be in memory, and where elements may begin.
  bool can_be_mapped(std::uint32_t s, std::uint32_t piece) const {
    if (!options_.mapped || piece == kNoPiece || casts(s)) return false;
    return index_.storages[s].swap_nbytes == 1 &&
           index_.pieces[piece].encoding == Encoding::as_is &&
           index_.pieces[piece].extent.offset % used_[s].itemsize == 0;
  }

  void map(Placement& placement, const Extent& extent) {
    const auto next = static_cast<std::uint32_t>(plan_.targets.size());
    const auto [target, is_new] = mapped_files_.try_emplace(extent.file, next);
    if (is_new)
      plan_.targets.push_back({kCpu, index_.files[extent.file].nbytes(), std::nullopt, extent.file});
    placement.target = target->second;
    placement.offset = extent.offset;
  }

  // A small storage goes into the device's open slab, if it fits; a large one has a target of its own.
  void place_bytes(Placement& placement, Device device, std::uint64_t nbytes) {
    if (options_.allocate) {
      placement.target = static_cast<std::uint32_t>(plan_.targets.size());
      plan_.targets.push_back({device, nbytes});
      return;
    }
    const std::uint64_t step = alignment_[device];
    if (nbytes < kSmall) {
      const auto [slab, is_new] = slabs_.try_emplace(device, Placement::kNowhere);
      if (slab->second != Placement::kNowhere) {
        Target& target = plan_.targets[slab->second];
        const std::uint64_t offset = round_up(std::max<std::uint64_t>(target.nbytes, 1), step);
        if (offset + nbytes <= kSlab) {
          placement.target = slab->second;
          placement.offset = offset;
          target.nbytes = offset + std::max<std::uint64_t>(nbytes, 1);
          return;
        }
      }
      slab->second = static_cast<std::uint32_t>(plan_.targets.size());
    }
    placement.target = static_cast<std::uint32_t>(plan_.targets.size());
    plan_.targets.push_back({device, std::max<std::uint64_t>(nbytes, 1)});
  }

  void check_memory() {
    for (DeviceNeed& need : plan_.devices) {
      const auto memory = std::find_if(memory_.begin(), memory_.end(), [&](const MemoryUse& use) {
        return use.device == need.device;
      });
      for (const Target& target : plan_.targets) {
        if (target.device == need.device && !target.mapped_file)
          need.allocated += rounded(target.nbytes, *memory);
      }
      if (need.device.kind == DeviceKind::meta) continue;
      // What the pool holds and nobody uses can be had again.
      const std::uint64_t most = limit(need.device);
      const std::uint64_t available = std::min(
          most, memory->free + (memory->reserved - std::min(memory->reserved, memory->allocated)));
      if (need.allocated <= available) continue;
      std::string fits_on;
      for (const MemoryUse& use : memory_) {
        if (use.device.kind != DeviceKind::meta && use.device != need.device &&
            std::min(use.free, limit(use.device)) >= need.allocated) {
          fits_on += (fits_on.empty() ? "" : ", ") + use.device.str();
        }
      }
      throw DeviceError(need.device.str() + ": the plan needs " + human_bytes(need.allocated) +
                        " (" + std::to_string(need.allocated) + " bytes), " +
                        human_bytes(available) +
                        (available == most ? " are allowed; " : " are free; ") +
                        (fits_on.empty() ? "map some keys elsewhere, or pass map_location \"auto\""
                                         : "it would fit on " + fits_on));
    }
  }

  const Index& index_;
  const LoadOptions& options_;
  const std::vector<MemoryUse>& memory_;
  Plan plan_;
  StateDict contents_;                          // of the file, selected and renamed
  std::vector<Use> used_;                       // by storage
  std::vector<std::vector<std::string>> keys_;  // by storage
  std::map<Device, std::uint64_t> left_, alignment_;
  std::map<Device, std::uint32_t> slabs_;  // the open one, in Plan::targets
  std::map<Device, DeviceNeed> needs_;
  std::map<std::uint32_t, std::uint32_t> mapped_files_;  // to their targets
  Device last_automatic_ = kMeta;
};

}  // namespace

Plan plan_load(const Index& index, const LoadOptions& options,
               const std::vector<MemoryUse>& memory) {
  return Planner(index, options, memory).run();
}

}  // namespace transload
