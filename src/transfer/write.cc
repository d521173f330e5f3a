#include "transfer/write.h"

#include <algorithm>
#include <map>
#include <optional>

#include "io/crc32.h"
#include "io/file.h"
#include "io/piece_reader.h"
#include "plan/transfers.h"
#include "transfer/engine.h"
#include "transfer/steps.h"
#include "transfer/workers.h"
#include "types/box.h"

namespace transload {
namespace {

struct Part {
  std::uint32_t piece;
  std::uint64_t offset, nbytes;  // in the piece
};

// One thread's way to the bytes: a slot of staging, and streams to the devices it has met.
class Fetcher {
 public:
  Fetcher(const Index& layout, const ByteSource& source, std::span<const std::uint32_t> pieces,
          const Engine& engine)
      : layout_(layout),
        source_(source),
        pieces_(pieces),
        engine_(engine),
        slot_nbytes_(slot_nbytes(engine.staging_nbytes)) {
    if (source.index) reader_.emplace(*source.index);
  }

  // The bytes of a part, in memory until the next call.
  std::span<const std::byte> fetch(const Part& part) {
    const Piece& piece = layout_.pieces[part.piece];
    const std::uint64_t offset = piece.byte_offset + part.offset;
    if (source_.index) return from_file(piece.storage, offset, part.nbytes);
    const Storage& storage = source_.storages[piece.storage];
    if (storage.device().kind == DeviceKind::cpu) return {storage.data() + offset, part.nbytes};
    try {
      return from_device(storage, offset, part.nbytes);
    } catch (Error& error) {
      for (const NamedTensor& tensor : layout_.contents.tensors()) {
        if (tensor.value.storage_number() != piece.storage) continue;
        error.add("for \"" + tensor.name + "\" (" + str(tensor.value) + "), " +
                  std::to_string(part.nbytes) + " bytes; nothing was replaced");
        break;
      }
      throw;
    }
  }

 private:
  std::span<const std::byte> from_file(std::uint32_t storage, std::uint64_t offset,
                                       std::uint64_t nbytes) {
    const Index& index = *source_.index;
    const std::span<std::byte> bytes = staging(kCpu).first(nbytes);
    reader_->read(pieces_[storage], offset, bytes);
    Steps steps;
    steps.swap_nbytes = index.storages[storage].swap_nbytes;
    if (steps.swap_nbytes > 1) {
      const Dtype unit = steps.swap_nbytes == 8   ? Dtype::int64
                         : steps.swap_nbytes == 4 ? Dtype::int32
                                                  : Dtype::int16;
      steps.from = steps.to = unit;
      convert(steps, bytes.data(), 1, bytes.data(), 1, nbytes / steps.swap_nbytes);
    }
    return bytes;
  }

  std::span<const std::byte> from_device(const Storage& storage, std::uint64_t offset,
                                         std::uint64_t nbytes) {
    const Device device = storage.device();
    auto& stream = streams_[device];
    if (!stream) stream = backend_for(device).open_stream(device, stream_of(engine_, device));
    const std::span<std::byte> bytes = staging(device).first(nbytes);
    stream->to_host(bytes, storage.data() + offset);
    stream->wait(stream->mark());
    return bytes;
  }

  std::span<std::byte> staging(Device device) {
    if (!staging_.data()) staging_ = backend_for(device).allocate_staging(device, slot_nbytes_);
    return {staging_.data(), slot_nbytes_};
  }

  const Index& layout_;
  const ByteSource& source_;
  std::span<const std::uint32_t> pieces_;
  const Engine& engine_;
  std::uint64_t slot_nbytes_;
  std::optional<PieceReader> reader_;
  Storage staging_;
  std::map<Device, std::unique_ptr<CopyStream>> streams_;
};

}  // namespace

std::vector<std::uint32_t> write_pieces(const Index& layout, const ByteSource& source,
                                        const AtomicFile& file, const Engine& engine) {
  const std::uint64_t slot = slot_nbytes(engine.staging_nbytes);
  const std::vector<std::uint32_t> pieces =
      source.index ? pieces_by_storage(*source.index) : std::vector<std::uint32_t>();
  std::vector<Part> parts;
  std::uint64_t total = 0;
  for (std::uint32_t p = 0; p < layout.pieces.size(); ++p) {
    const std::uint64_t nbytes = layout.pieces[p].extent.nbytes;
    for (std::uint64_t done = 0; done < nbytes; done += slot)
      parts.push_back({p, done, std::min(slot, nbytes - done)});
    total += nbytes;
  }
  std::vector<std::uint32_t> part_crcs(parts.size());
  std::atomic<std::size_t> next = 0;
  std::atomic<std::uint64_t> done_nbytes = 0;
  std::atomic<bool> stop = false;
  const auto most_threads =
      static_cast<int>(std::max<std::uint64_t>(1, engine.staging_nbytes / slot));
  run_workers(std::min(thread_count(engine.threads), most_threads), engine.progress, total,
              done_nbytes, stop, [&](int) {
                Fetcher fetcher(layout, source, pieces, engine);
                for (std::size_t i = next++; i < parts.size() && !stop; i = next++) {
                  const std::span<const std::byte> bytes = fetcher.fetch(parts[i]);
                  part_crcs[i] = crc32_of(bytes);
                  write_at(file.descriptor(), file.path(),
                           layout.pieces[parts[i].piece].extent.offset + parts[i].offset, bytes);
                  file.start_writing(layout.pieces[parts[i].piece].extent.offset + parts[i].offset,
                                     bytes.size());
                  done_nbytes += bytes.size();
                }
              });
  std::vector<std::uint32_t> crcs(layout.pieces.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    std::uint32_t& crc = crcs[parts[i].piece];
    crc = parts[i].offset == 0 ? part_crcs[i] : crc32_joined(crc, part_crcs[i], parts[i].nbytes);
  }
  return crcs;
}

}  // namespace transload
