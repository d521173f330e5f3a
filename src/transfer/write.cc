#include "transfer/write.h"

#include <cstring>
#include <map>
#include <numeric>
#include <optional>

#include "io/crc32.h"
#include "transfer/piece_reader.h"
#include "transfer/engine.h"
#include "transfer/parts.h"
#include "transfer/steps.h"
#include "plan/pieces.h"
#include "types/scalar.h"
#include "values/names.h"

namespace transload {
namespace {

// One thread's way to the bytes: a slot of staging, and streams to the devices it has met.
class Fetcher {
 public:
  Fetcher(const Layout& layout, const ByteSource& source, std::span<const std::uint32_t> pieces,
          const AtomicFile& file, const IoOptions& io)
      : layout_(layout), source_(source), pieces_(pieces), file_(file), io_(io) {
    if (source.index) reader_.emplace(*source.index);
  }

  void fetch_soon(const Part& part) {
    const Piece& piece = layout_.pieces[part.piece];
    if (source_.index)
      reader_->read_soon(pieces_[piece.storage], piece.byte_offset + part.offset, part.nbytes);
  }

  // The bytes of a part, in memory until the next call.
  std::span<const std::byte> fetch(const Part& part) {
    const Piece& piece = layout_.pieces[part.piece];
    const std::uint64_t offset = piece.byte_offset + part.offset;
    const std::uint64_t phase = (piece.extent.offset + part.offset) % AtomicFile::kAlignment;
    if (source_.index) return from_file(piece.storage, offset, staging(kCpu, phase, part.nbytes));
    const Storage& storage = source_.storages[piece.storage];
    if (storage.device().kind == DeviceKind::cpu) {
      const std::span<const std::byte> there(storage.data() + offset, part.nbytes);
      if (!file_.wants_aligned(part.nbytes)) return there;
      const std::span<std::byte> bytes = staging(kCpu, phase, part.nbytes);
      std::memcpy(bytes.data(), there.data(), bytes.size());
      return bytes;
    }
    try {
      return from_device(storage, offset, staging(storage.device(), phase, part.nbytes));
    } catch (Error& error) {
      error.add("for " + first_user(layout_.contents, piece.storage) + ", " +
                std::to_string(part.nbytes) + " bytes; nothing was replaced");
      throw;
    }
  }

 private:
  std::span<const std::byte> from_file(std::uint32_t storage, std::uint64_t offset,
                                       std::span<std::byte> bytes) {
    const Index& index = *source_.index;
    reader_->read(pieces_[storage], offset, bytes);
    Steps steps;
    steps.swap_nbytes = index.storages[storage].swap_nbytes;
    if (steps.swap_nbytes > 1) {
      steps.from = steps.to = unit_dtype(steps.swap_nbytes);
      convert(steps, bytes.data(), 1, bytes.data(), 1, bytes.size() / steps.swap_nbytes);
    }
    return bytes;
  }

  std::span<const std::byte> from_device(const Storage& storage, std::uint64_t offset,
                                         std::span<std::byte> bytes) {
    const Device device = storage.device();
    auto& stream = streams_[device];
    if (!stream) stream = backend_for(device).open_stream(device, stream_of(io_, device));
    stream->to_host(bytes, storage.data() + offset);
    stream->wait(stream->mark());
    return bytes;
  }

  // In the same phase as the file's pages, so that the file takes it without another copy.
  std::span<std::byte> staging(Device device, std::uint64_t phase, std::uint64_t nbytes) {
    if (!staging_.data()) {
      staging_ = backend_for(device).allocate_staging(
          device, slot_nbytes(io_.staging_nbytes) + AtomicFile::kAlignment);
    }
    return {staging_.data() + phase, nbytes};
  }

  const Layout& layout_;
  const ByteSource& source_;
  std::span<const std::uint32_t> pieces_;
  const AtomicFile& file_;
  const IoOptions& io_;
  std::optional<PieceReader> reader_;
  Storage staging_;
  std::map<Device, std::unique_ptr<CopyStream>> streams_;
};

}  // namespace

std::vector<std::uint32_t> write_pieces(const Layout& layout, const ByteSource& source,
                                        const AtomicFile& file, const IoOptions& io) {
  const std::vector<std::uint32_t> source_pieces =
      source.index ? pieces_by_storage(*source.index) : std::vector<std::uint32_t>();
  std::vector<std::uint32_t> all(layout.pieces.size());
  std::iota(all.begin(), all.end(), 0);
  return for_each_part(layout.pieces, all, io, [&] {
    const auto fetcher = std::make_shared<Fetcher>(layout, source, source_pieces, file, io);
    return [&, fetcher](const Part& part, const Part* ahead) {
      if (ahead) fetcher->fetch_soon(*ahead);
      const std::span<const std::byte> bytes = fetcher->fetch(part);
      file.write(layout.pieces[part.piece].extent.offset + part.offset, bytes);
      return crc32_of(bytes);
    };
  });
}

}  // namespace transload
