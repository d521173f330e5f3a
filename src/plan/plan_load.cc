// plan_load: where each storage goes and why, the memory to allocate for it, and the transfers. Pure.
#include <algorithm>
#include <map>
#include <ranges>

#include "plan/box.h"
#include "plan/choose_device.h"
#include "plan/pieces.h"
#include "plan/plans.h"
#include "plan/select.h"
#include "plan/transfers.h"
#include "transload/error.h"
#include "types/checked.h"
#include "types/scalar.h"
#include "values/node_table.h"

namespace transload {
namespace {

// Storages smaller than kSmall lie side by side in slabs of at most kSlab: a thousand of them are one allocation. Larger
// ones have an allocation of their own, which goes when they do.
constexpr std::uint64_t kSmall = 256 << 10, kSlab = 4 << 20;

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
        contents_(select(index.contents, options.select)),
        chooser_(index, contents_, options, memory) {
    plan_.slot_nbytes = slot_nbytes(options.io.staging_nbytes);
    for (const auto& rule : options.map_location.rules()) plan_.rules.push_back(rule.str());
    plan_.rules.push_back("where it was saved");
    for (const MemoryUse& use : memory) alignment_[use.device] = use.alignment;
  }

  // `wanted`: by storage, those to load; empty: all that are used.
  Plan run(const std::vector<bool>& wanted) {
    find_used();
    std::vector<std::uint32_t> order;  // in the order of the files
    for (std::uint32_t s = 0; s < index_.storages.size(); ++s) {
      if (used_[s].any && (wanted.empty() || wanted[s])) order.push_back(s);
    }
    sort_by_place(order);
    plan_.placements.resize(index_.storages.size());
    plan_.transfers.reserve(index_.pieces.size());
    for (const std::uint32_t s : order) place_storage(s);
    for (auto& [device, need] : needs_) plan_.devices.push_back(need);
    require_memory(plan_, options_, memory_);
    plan_.contents = cast_contents();
    finish(plan_, &index_, options_.io);
    explain_inputs();
    return std::move(plan_);
  }

 private:
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

  void sort_by_place(std::vector<std::uint32_t>& storages) const {
    std::vector<std::pair<std::uint32_t, std::uint64_t>> places(index_.storages.size());
    // Backward, so that the place of a storage's first piece stays.
    for (auto piece = index_.pieces.rbegin(); piece != index_.pieces.rend(); ++piece)
      places[piece->storage] = {piece->extent.file, piece->extent.offset};
    std::ranges::sort(storages, {}, [&](std::uint32_t s) { return std::pair(places[s], s); });
  }

  void place_storage(std::uint32_t s) {
    const std::uint64_t nbytes = nbytes_there(s);
    const Decision decision = chooser_.decide(s, nbytes);
    Placement& placement = plan_.placements[s];
    placement.rule = decision.rule;
    placement.nbytes = nbytes;
    DeviceNeed& need =
        needs_
            .try_emplace(decision.device, DeviceNeed{.device = decision.device,
                                                     .free = chooser_.left(decision.device)})
            .first->second;
    if (decision.device.kind == DeviceKind::meta) return;
    const std::span<const Piece> pieces = index_.pieces_of(s);
    require_whole(index_, s, pieces);
    if (decision.device == kCpu && can_be_mapped(s, pieces)) {
      need.mapped_nbytes += nbytes;
      return map(placement, pieces.front().extent);
    }
    need.storage_nbytes += nbytes;
    place_bytes(placement, decision.device, nbytes);
    chooser_.take(decision.device, nbytes);
    for (const Piece& piece : pieces) add_piece(s, piece);
  }

  void add_piece(std::uint32_t s, const Piece& piece) {
    const StoredStorage& stored = index_.storages[s];
    const Placement& placement = plan_.placements[s];
    Steps steps;
    steps.swap_nbytes = stored.swap_nbytes;
    steps.from = casts(s) ? used_[s].dtype : unit_dtype(stored.swap_nbytes);
    steps.to = casts(s) ? *options_.dtype : steps.from;
    const Transfer whole{
        .from = {Place::Kind::file, piece.extent.file, piece.extent.offset},
        .to = {Place::Kind::memory, placement.memory, placement.offset},
        .nbytes = piece.nbytes,
        .label = s,
        .reads = static_cast<std::uint32_t>(&piece - index_.pieces.data()),
    };
    if (piece.box) {
      add_block(whole, piece, std::move(steps));
    } else {
      add_run(whole, piece, std::move(steps));
    }
    if (options_.verify && piece.crc32 && is_read_once(piece)) plan_.checked.push_back(whole.reads);
  }

  void add_run(Transfer whole, const Piece& piece, Steps steps) {
    const std::uint64_t from_size = itemsize(steps.from);
    if (piece.byte_offset % from_size != 0 || piece.nbytes % from_size != 0)
      refuse_torn(whole.label);
    whole.to.offset += piece.byte_offset / from_size * itemsize(steps.to);
    if (steps.from != steps.to || steps.swap_nbytes > 1)
      whole.steps = add_steps(plan_, std::move(steps));
    add_in_order(plan_, whole);
  }

  // A piece whose elements have another order in the storage.
  void add_block(const Transfer& whole, const Piece& piece, Steps steps) {
    if (!casts(whole.label)) steps.from = steps.to = dtype_of_size(piece.itemsize);
    if (itemsize(steps.from) != piece.itemsize || piece.itemsize % steps.swap_nbytes != 0)
      refuse_torn(whole.label);
    steps.box = *piece.box;
    steps.box->target_origin = piece.box->target_origin / piece.itemsize * itemsize(steps.to);
    add_boxed(plan_, whole, std::move(steps), BoxOrder::source);
  }

  [[noreturn]] void refuse_torn(std::uint32_t s) const {
    throw UnsupportedError(index_.files.front().name + ": storage \"" + index_.storages[s].key +
                           "\" lies in pieces that do not begin and end with its elements");
  }

  // Whether its bytes lie in the file as they are to be in memory, and where elements may begin.
  bool can_be_mapped(std::uint32_t s, std::span<const Piece> pieces) const {
    if (!options_.mapped || pieces.size() != 1 || pieces.front().box || casts(s)) return false;
    return index_.storages[s].swap_nbytes == 1 && pieces.front().encoding == Encoding::as_is &&
           pieces.front().extent.offset % used_[s].itemsize == 0;
  }

  void map(Placement& placement, const Extent& extent) {
    const auto next = static_cast<std::uint32_t>(plan_.memories.size());
    const auto [memory, is_new] = mapped_files_.try_emplace(extent.file, next);
    if (is_new)
      plan_.memories.push_back(
          {kCpu, index_.files[extent.file].nbytes(), std::nullopt, extent.file});
    placement.memory = memory->second;
    placement.offset = extent.offset;
  }

  void explain_inputs() {
    for (std::uint32_t f = 0; f < plan_.inputs.size(); ++f) {
      FileUse& input = plan_.inputs[f];
      if (!mapped_files_.contains(f)) continue;
      input.how = How::mapped;
      input.why = "by the option `mapped`";
    }
  }

  // A small storage goes into the device's open slab, if it fits; a large one has a target of its own.
  void place_bytes(Placement& placement, Device device, std::uint64_t nbytes) {
    if (options_.allocate) {
      placement.memory = static_cast<std::uint32_t>(plan_.memories.size());
      plan_.memories.push_back({device, nbytes});
      return;
    }
    const std::uint64_t step = alignment_.at(device);
    if (nbytes < kSmall) {
      const auto [slab, is_new] = slabs_.try_emplace(device, Placement::kNowhere);
      if (slab->second != Placement::kNowhere) {
        Memory& memory = plan_.memories[slab->second];
        const std::uint64_t offset = round_up(std::max<std::uint64_t>(memory.nbytes, 1), step);
        if (offset + nbytes <= kSlab) {
          placement.memory = slab->second;
          placement.offset = offset;
          memory.nbytes = offset + std::max<std::uint64_t>(nbytes, 1);
          return;
        }
      }
      slab->second = static_cast<std::uint32_t>(plan_.memories.size());
    }
    placement.memory = static_cast<std::uint32_t>(plan_.memories.size());
    plan_.memories.push_back({device, std::max<std::uint64_t>(nbytes, 1)});
  }

  const Index& index_;
  const LoadOptions& options_;
  const std::vector<MemoryUse>& memory_;
  Plan plan_;
  StateDict contents_;  // of the file, selected and renamed
  DeviceChooser chooser_;
  std::vector<Use> used_;  // by storage
  std::map<Device, std::uint64_t> alignment_;
  std::map<Device, std::uint32_t> slabs_;  // the open one, in Plan::memories
  std::map<Device, DeviceNeed> needs_;
  std::map<std::uint32_t, std::uint32_t> mapped_files_;  // to their memories
};

}  // namespace

Plan plan_load(const Index& index, const LoadOptions& options,
               const std::vector<MemoryUse>& memory) {
  return Planner(index, options, memory).run({});
}

Plan plan_load_of(const Index& index, const LoadOptions& options,
                  const std::vector<MemoryUse>& memory, const std::vector<bool>& wanted) {
  return Planner(index, options, memory).run(wanted);
}

}  // namespace transload
