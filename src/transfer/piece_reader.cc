#include "transfer/piece_reader.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "io/file.h"
#include "transload/error.h"

namespace transload {

class PieceReader::Inflating {
 public:
  Inflating(const Index& index, std::uint32_t piece)
      : index_(index), piece_(piece), encoded_(256 << 10) {
    // Negative: without zlib's own header, as zip files have it.
    if (inflateInit2(&stream_, -MAX_WBITS) != Z_OK)
      throw Error(where() + ": no memory to inflate it");
  }
  ~Inflating() { inflateEnd(&stream_); }
  Inflating(const Inflating&) = delete;
  Inflating& operator=(const Inflating&) = delete;

  std::uint32_t piece() const { return piece_; }
  std::uint64_t position() const { return position_; }

  void read(std::uint64_t offset, std::span<std::byte> bytes) {
    std::array<std::byte, 64 << 10> skipped;
    while (position_ < offset) {
      next(std::span(skipped).first(std::min<std::uint64_t>(skipped.size(), offset - position_)));
    }
    while (!bytes.empty()) {
      const auto part = bytes.first(std::min<std::uint64_t>(bytes.size(), 1 << 30));
      next(part);
      bytes = bytes.subspan(part.size());
    }
  }

 private:
  const Extent& extent() const { return index_.pieces[piece_].extent; }

  std::string where() const {
    return index_.files[extent().file].name + ": storage \"" +
           index_.storages[index_.pieces[piece_].storage].key + "\"";
  }

  // The bytes that come next; all of them, and fewer than zlib's counters hold.
  void next(std::span<std::byte> bytes) {
    stream_.next_out = reinterpret_cast<Bytef*>(bytes.data());
    stream_.avail_out = static_cast<uInt>(bytes.size());
    while (stream_.avail_out > 0) {
      if (stream_.avail_in == 0) {
        const std::uint64_t count =
            std::min<std::uint64_t>(encoded_.size(), extent().nbytes - encoded_read_);
        read_at(index_.files[extent().file], extent().offset + encoded_read_,
                std::span(encoded_).first(count));
        encoded_read_ += count;
        stream_.next_in = reinterpret_cast<Bytef*>(encoded_.data());
        stream_.avail_in = static_cast<uInt>(count);
      }
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_OK || (result == Z_STREAM_END && stream_.avail_out == 0)) continue;
      throw FormatError(where() + " is damaged: it is deflated, and ends or breaks after " +
                        std::to_string(position_ + bytes.size() - stream_.avail_out) + " bytes");
    }
    position_ += bytes.size();
  }

  const Index& index_;
  std::uint32_t piece_;
  std::vector<std::byte> encoded_;
  std::uint64_t encoded_read_ = 0, position_ = 0;
  z_stream stream_{};
};

PieceReader::PieceReader(const Index& index) : index_(index) {}
PieceReader::~PieceReader() = default;

void PieceReader::read(std::uint32_t piece, std::uint64_t offset, std::span<std::byte> bytes) {
  const Piece& stored = index_.pieces[piece];
  if (stored.encoding == Encoding::as_is) {
    read_at(index_.files[stored.extent.file], stored.extent.offset + offset, bytes);
    return;
  }
  offset += stored.skipped_nbytes;
  if (!inflating_ || inflating_->piece() != piece || inflating_->position() > offset)
    inflating_ = std::make_unique<Inflating>(index_, piece);
  inflating_->read(offset, bytes);
}

void PieceReader::read_soon(std::uint32_t piece, std::uint64_t offset, std::uint64_t nbytes) const {
  const Piece& stored = index_.pieces[piece];
  if (stored.encoding == Encoding::as_is && nbytes)
    index_.files[stored.extent.file].source->prefetch(stored.extent.offset + offset, nbytes);
}

}  // namespace transload
