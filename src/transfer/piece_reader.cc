#include "transfer/piece_reader.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "io/file.h"
#include "plan/pieces.h"
#include "transload/error.h"

namespace transload {

class PieceReader::Inflating {
 public:
  Inflating(const Index& index, std::uint32_t number)
      : index_(index), number_(number), extent_(stored(index, number).extent), encoded_(256 << 10) {
    // Negative: without zlib's own header, as zip files have it.
    if (inflateInit2(&stream_, -MAX_WBITS) != Z_OK)
      throw Error(where() + ": no memory to inflate it");
  }
  ~Inflating() { inflateEnd(&stream_); }
  Inflating(const Inflating&) = delete;
  Inflating& operator=(const Inflating&) = delete;

  std::uint32_t number() const { return number_; }
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
  std::string where() const { return name_of_stored(index_, number_); }

  // The bytes that come next; all of them, and fewer than zlib's counters hold.
  void next(std::span<std::byte> bytes) {
    stream_.next_out = reinterpret_cast<Bytef*>(bytes.data());
    stream_.avail_out = static_cast<uInt>(bytes.size());
    while (stream_.avail_out > 0) {
      if (stream_.avail_in == 0) {
        const std::uint64_t count =
            std::min<std::uint64_t>(encoded_.size(), extent_.nbytes - encoded_read_);
        read_at(index_.files[extent_.file], extent_.offset + encoded_read_,
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
  std::uint32_t number_;
  Extent extent_;
  std::vector<std::byte> encoded_;
  std::uint64_t encoded_read_ = 0, position_ = 0;
  z_stream stream_{};
};

PieceReader::PieceReader(const Index& index) : index_(index) {}
PieceReader::~PieceReader() = default;

void PieceReader::read(std::uint32_t number, std::uint64_t offset, std::span<std::byte> bytes) {
  const Stored piece = stored(index_, number);
  if (piece.encoding == Encoding::as_is) {
    read_at(index_.files[piece.extent.file], piece.extent.offset + offset, bytes);
    return;
  }
  offset += piece.skipped_nbytes;
  if (!inflating_ || inflating_->number() != number || inflating_->position() > offset)
    inflating_ = std::make_unique<Inflating>(index_, number);
  inflating_->read(offset, bytes);
}

}  // namespace transload
