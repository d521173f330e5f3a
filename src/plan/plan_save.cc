// plan_save and plan_convert: what is written to each file of a layout, from where, and whether past the page cache. Pure.
#include <algorithm>

#include "plan/box.h"
#include "plan/compose.h"
#include "plan/pieces.h"
#include "plan/plans.h"
#include "plan/transfers.h"
#include "transload/error.h"
#include "types/checked.h"
#include "types/scalar.h"

namespace transload {
namespace {

// Files of a layout, and how each is written.
void add_outputs(Plan& plan, const Layout& layout, const WriteFacts& facts) {
  std::vector<std::uint64_t> longest(layout.files.size());
  for (const Piece& piece : layout.pieces)
    longest[piece.extent.file] = std::max(longest[piece.extent.file], piece.nbytes);
  for (std::size_t f = 0; f < layout.files.size(); ++f) {
    FileUse use{layout.files[f].name, How::cached, "", 0};
    if (!facts.has_direct)
      use.why = "the file system has no other way";
    else if (longest[f] < kLeastDirect)
      use.why = "its tensors are small";
    else
      use.how = How::direct, use.why = "a durable save through the page cache takes longer";
    plan.outputs.push_back(std::move(use));
  }
}

Plan start(const Layout& layout, const WriteFacts& facts, const IoOptions& io) {
  Plan plan;
  plan.contents = layout.contents;
  plan.slot_nbytes = slot_nbytes(io.staging_nbytes);
  plan.sums_written = facts.needs_checksums;
  plan.transfers.reserve(layout.pieces.size());
  add_outputs(plan, layout, facts);
  return plan;
}

Transfer to_piece(const Layout& layout, const Piece& piece) {
  Transfer transfer;
  transfer.to = {Place::Kind::file, piece.extent.file, piece.extent.offset};
  transfer.label = piece.storage;
  transfer.writes = static_cast<std::uint32_t>(&piece - layout.pieces.data());
  return transfer;
}

// Which elements of its storage a piece to be written takes, in what order.
Box view_of(const Piece& piece, std::uint64_t itemsize) {
  if (piece.box) return *piece.box;
  const auto count = static_cast<std::int64_t>(piece.nbytes / itemsize);
  return {Dims{count}, Dims{1}, Dims{1}, piece.byte_offset, 0};
}

// From pieces of files to the files of a layout, storage by storage.
class Converter {
 public:
  Converter(Plan& plan, const Index& index) : plan_(plan), index_(index) {}

  void add(const Piece& wanted, Transfer transfer) {
    const std::span<const Piece> pieces = index_.pieces_of(wanted.storage);
    require_whole(index_, wanted.storage, pieces);
    const std::uint8_t swap = index_.storages[wanted.storage].swap_nbytes;
    const bool in_one_run = pieces.size() == 1 && !pieces.front().box;
    std::uint64_t found = 0;
    for (const Piece& piece : pieces) {
      transfer.from = {Place::Kind::file, piece.extent.file, piece.extent.offset};
      transfer.reads = static_cast<std::uint32_t>(&piece - index_.pieces.data());
      if (in_one_run) {
        add_from_run(wanted, piece, transfer, swap);
        found = wanted.nbytes;
      } else {
        found += add_from_piece(wanted, piece, transfer, swap);
      }
    }
    if (found != wanted.nbytes) refuse(wanted.storage, "do not cover the bytes that are written");
  }

 private:
  // The whole storage lies in one piece, in order.
  void add_from_run(const Piece& wanted, const Piece& piece, Transfer transfer, std::uint8_t swap) {
    Steps steps;
    steps.swap_nbytes = swap;
    if (!wanted.box) {
      steps.from = steps.to = unit_dtype(swap);
      transfer.from.offset += wanted.byte_offset - piece.byte_offset;
      transfer.nbytes = wanted.nbytes;
      if (swap > 1) transfer.steps = add_steps(plan_, std::move(steps));
      return add_paged(plan_, transfer);
    }
    steps.from = steps.to = dtype_of_size(wanted.itemsize);
    steps.box = *wanted.box;
    steps.box->source_origin -= piece.byte_offset;
    // A deflated piece can be read in its own order only.
    const bool by_target = piece.encoding == Encoding::as_is;
    add_boxed(plan_, transfer, std::move(steps), by_target ? BoxOrder::target : BoxOrder::source);
  }

  // One of several pieces, which may be blocks. Returns how many bytes of what is wanted it has.
  std::uint64_t add_from_piece(const Piece& wanted, const Piece& piece, const Transfer& transfer,
                               std::uint8_t swap) {
    const std::uint64_t size = wanted.box ? wanted.itemsize : piece.box ? piece.itemsize : swap;
    const Box view = in_source_order(view_of(wanted, size));
    if (wanted.byte_offset % size != 0 || wanted.nbytes % size != 0 || size % swap != 0 ||
        !can_be_composed(view))
      refuse(wanted.storage, "and is written in another order");
    const auto boxes = compose(piece, view, size, size);
    if (!boxes) refuse(wanted.storage, "that do not begin and end with its elements");
    std::uint64_t found = 0;
    for (const Box& box : *boxes) {
      found += numel(box) * size;
      add_block(box, size, transfer, swap);
    }
    return found;
  }

  void add_block(const Box& box, std::uint64_t size, Transfer transfer, std::uint8_t swap) {
    if (is_dense(box) && swap == 1) {
      transfer.from.offset += box.source_origin;
      transfer.to.offset += box.target_origin;
      transfer.nbytes = numel(box) * size;
      return add_paged(plan_, transfer);
    }
    Steps steps;
    steps.swap_nbytes = swap;
    steps.from = steps.to = dtype_of_size(size);
    steps.box = box;
    add_boxed(plan_, transfer, std::move(steps), BoxOrder::source);
  }

  [[noreturn]] void refuse(std::uint32_t storage, const std::string& why) const {
    throw UnsupportedError(index_.files.front().name + ": storage \"" +
                           index_.storages[storage].key + "\" lies in pieces " + why +
                           "; load it and save it instead");
  }

  Plan& plan_;
  const Index& index_;
};

}  // namespace

Plan plan_save(std::span<const Storage> storages, const Layout& layout, const WriteFacts& facts,
               const IoOptions& io) {
  Plan plan = start(layout, facts, io);
  plan.memories.reserve(storages.size());
  for (const Storage& storage : storages)
    plan.memories.push_back({storage.device(), storage.nbytes(), storage});
  for (const Piece& piece : layout.pieces) {
    Transfer transfer = to_piece(layout, piece);
    transfer.from = {Place::Kind::memory, piece.storage, 0};
    if (piece.box) {
      Steps steps;
      steps.from = steps.to = dtype_of_size(piece.itemsize);
      steps.box = *piece.box;
      add_boxed(plan, transfer, std::move(steps), BoxOrder::target);
    } else {
      transfer.from.offset = piece.byte_offset;
      transfer.nbytes = piece.nbytes;
      add_paged(plan, transfer);
    }
  }
  finish(plan, nullptr, io);
  return plan;
}

Plan plan_convert(const Index& index, const Layout& layout, const WriteFacts& facts,
                  const IoOptions& io) {
  Plan plan = start(layout, facts, io);
  Converter converter(plan, index);
  for (const Piece& piece : layout.pieces) converter.add(piece, to_piece(layout, piece));
  finish(plan, &index, io);
  return plan;
}

}  // namespace transload
