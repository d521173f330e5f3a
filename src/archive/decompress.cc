// Sources: RFC 1950 and 1952; the format descriptions of bzip2, xz (tukaani.org/xz/xz-file-format.txt) and zstd (RFC 8878).
#include "archive/decompress.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "io/file.h"
#include "transload/error.h"

#if TRANSLOAD_HAS_BZIP2
#include <bzlib.h>
#endif
#if TRANSLOAD_HAS_LZMA
#include <lzma.h>
#endif
#if TRANSLOAD_HAS_ZSTD
#include <zstd.h>
#endif

namespace transload {
namespace {

enum class Step : std::uint8_t { more, stream_end, damaged };

struct Window {
  const char* in;
  std::size_t in_nbytes;
  char* out;
  std::size_t out_nbytes;  // what is left of both is written back
};

// Decodes one stream after the other.
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual Step decode(Window& window) = 0;
  virtual void start_next_stream() = 0;
};

class ZlibDecoder final : public Decoder {
 public:
  ZlibDecoder() { is_ready_ = inflateInit2(&stream_, MAX_WBITS + 32) == Z_OK; }  // 32: or gzip
  ~ZlibDecoder() override { inflateEnd(&stream_); }
  Step decode(Window& window) override {
    if (!is_ready_) return Step::damaged;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(window.in));
    stream_.avail_in = static_cast<uInt>(window.in_nbytes);
    stream_.next_out = reinterpret_cast<Bytef*>(window.out);
    stream_.avail_out = static_cast<uInt>(window.out_nbytes);
    const int result = inflate(&stream_, Z_NO_FLUSH);
    window.in_nbytes = stream_.avail_in;
    window.out_nbytes = stream_.avail_out;
    if (result == Z_STREAM_END) return Step::stream_end;
    return result == Z_OK || result == Z_BUF_ERROR ? Step::more : Step::damaged;
  }
  void start_next_stream() override { inflateReset(&stream_); }

 private:
  z_stream stream_{};
  bool is_ready_;
};

#if TRANSLOAD_HAS_BZIP2
class Bzip2Decoder final : public Decoder {
 public:
  Bzip2Decoder() { start(); }
  ~Bzip2Decoder() override { BZ2_bzDecompressEnd(&stream_); }
  Step decode(Window& window) override {
    stream_.next_in = const_cast<char*>(window.in);
    stream_.avail_in = static_cast<unsigned>(window.in_nbytes);
    stream_.next_out = window.out;
    stream_.avail_out = static_cast<unsigned>(window.out_nbytes);
    const int result = is_ready_ ? BZ2_bzDecompress(&stream_) : BZ_MEM_ERROR;
    window.in_nbytes = stream_.avail_in;
    window.out_nbytes = stream_.avail_out;
    return result == BZ_STREAM_END ? Step::stream_end
           : result == BZ_OK       ? Step::more
                                   : Step::damaged;
  }
  void start_next_stream() override {
    BZ2_bzDecompressEnd(&stream_);
    start();
  }

 private:
  void start() {
    stream_ = {};
    is_ready_ = BZ2_bzDecompressInit(&stream_, 0, 0) == BZ_OK;
  }
  bz_stream stream_{};
  bool is_ready_ = false;
};
#endif

#if TRANSLOAD_HAS_LZMA
class LzmaDecoder final : public Decoder {
 public:
  LzmaDecoder() { start_next_stream(); }
  ~LzmaDecoder() override { lzma_end(&stream_); }
  Step decode(Window& window) override {
    stream_.next_in = reinterpret_cast<const std::uint8_t*>(window.in);
    stream_.avail_in = window.in_nbytes;
    stream_.next_out = reinterpret_cast<std::uint8_t*>(window.out);
    stream_.avail_out = window.out_nbytes;
    const lzma_ret result = is_ready_ ? lzma_code(&stream_, LZMA_RUN) : LZMA_MEM_ERROR;
    window.in_nbytes = stream_.avail_in;
    window.out_nbytes = stream_.avail_out;
    return result == LZMA_STREAM_END                       ? Step::stream_end
           : result == LZMA_OK || result == LZMA_BUF_ERROR ? Step::more
                                                           : Step::damaged;
  }
  void start_next_stream() override {
    constexpr std::uint64_t kMostMemory = 256 << 20;  // xz -9 needs 65 MiB
    is_ready_ = lzma_auto_decoder(&stream_, kMostMemory, 0) == LZMA_OK;
  }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool is_ready_ = false;
};
#endif

#if TRANSLOAD_HAS_ZSTD
class ZstdDecoder final : public Decoder {
 public:
  ZstdDecoder() : stream_(ZSTD_createDStream(), ZSTD_freeDStream) {}
  Step decode(Window& window) override {
    ZSTD_inBuffer in{window.in, window.in_nbytes, 0};
    ZSTD_outBuffer out{window.out, window.out_nbytes, 0};
    const std::size_t result = ZSTD_decompressStream(stream_.get(), &out, &in);
    window.in_nbytes -= in.pos;
    window.out_nbytes -= out.pos;
    if (ZSTD_isError(result)) return Step::damaged;
    return result == 0 ? Step::stream_end : Step::more;
  }
  void start_next_stream() override { ZSTD_initDStream(stream_.get()); }

 private:
  std::unique_ptr<ZSTD_DStream, std::size_t (*)(ZSTD_DStream*)> stream_;
};
#endif

// Null: the library was built without what reads it.
std::unique_ptr<Decoder> decoder_of(Compression compression) {
  switch (compression) {
    case Compression::gzip:
    case Compression::zlib:
      return std::make_unique<ZlibDecoder>();
#if TRANSLOAD_HAS_BZIP2
    case Compression::bzip2:
      return std::make_unique<Bzip2Decoder>();
#endif
#if TRANSLOAD_HAS_LZMA
    case Compression::xz:
    case Compression::lzma:
      return std::make_unique<LzmaDecoder>();
#endif
#if TRANSLOAD_HAS_ZSTD
    case Compression::zstd:
      return std::make_unique<ZstdDecoder>();
#endif
    default:
      return nullptr;
  }
}

struct Magic {
  std::string_view bytes;
  Compression compression;
};
constexpr Magic kMagics[] = {
    {"\x1F\x8B", Compression::gzip},
    {"BZh", Compression::bzip2},
    {{"\xFD"
      "7zXZ\0",
      6},
     Compression::xz},
    {{"\x5D\0\0", 3}, Compression::lzma},
    {"\x28\xB5\x2F\xFD", Compression::zstd},
    {"\x04\x22\x4D\x18", Compression::other},  // lz4
    {"7z\xBC\xAF", Compression::other},
    {"Rar!", Compression::other},
    {"\x1F\x9D", Compression::other},  // compress
    {"MSCF", Compression::other},
    {"LZIP", Compression::other},
};

bool is_zlib(std::string_view head) {
  if (head.size() < 2 || (head[0] & 0x8F) != 8)
    return false;  // deflate, a window of at most 32 KiB
  const auto first = static_cast<unsigned char>(head[0]),
             second = static_cast<unsigned char>(head[1]);
  return (first * 256 + second) % 31 == 0 && (second & 0x20) == 0;
}

}  // namespace

Compression compression_of(std::string_view head) {
  for (const Magic& magic : kMagics) {
    if (head.starts_with(magic.bytes)) return magic.compression;
  }
  // "\x80" and other opcodes are not taken for zlib: its first byte is 0x08 to 0x78.
  return is_zlib(head) ? Compression::zlib : Compression::none;
}

std::string_view name(Compression compression) {
  constexpr std::string_view kNames[] = {"none", "gzip", "zlib", "bzip2",
                                         "xz",   "lzma", "zstd", "compressed"};
  return kNames[static_cast<std::size_t>(compression)];
}

bool may_be_text(Compression compression) {
  return compression == Compression::zlib || compression == Compression::lzma ||
         compression == Compression::bzip2;
}

bool can_decompress(Compression compression) { return decoder_of(compression) != nullptr; }

Decompressed decompress(const File& file, Compression compression, std::uint64_t most_nbytes) {
  constexpr std::uint64_t kChunk = 64 << 10;
  Decompressed result;
  const auto decoder = decoder_of(compression);
  if (!decoder) return result;
  std::string stored;
  std::uint64_t read_nbytes = 0;
  std::size_t left = 0;  // of the end of `stored`, not decoded yet
  bool is_in_stream = true;
  while (true) {
    if (left == 0 && read_nbytes < file.nbytes()) {
      stored = read_text(file, read_nbytes, std::min(kChunk, file.nbytes() - read_nbytes));
      read_nbytes += stored.size();
      left = stored.size();
    }
    if (!is_in_stream) {
      // Zeros may follow the streams of a file: it was padded.
      while (left > 0 && stored[stored.size() - left] == '\0') --left;
      if (left == 0 && read_nbytes < file.nbytes()) continue;
      result.is_whole = left == 0;
      if (left == 0) return result;
      decoder->start_next_stream();
      is_in_stream = true;
    }
    const std::size_t before = result.bytes.size();
    const std::uint64_t room = std::min(kChunk, most_nbytes - before);
    if (room == 0) return result;
    result.bytes.resize(before + room);
    Window window{stored.data() + stored.size() - left, left, result.bytes.data() + before,
                  static_cast<std::size_t>(room)};
    const Step step = decoder->decode(window);
    const bool has_moved = window.in_nbytes < left || window.out_nbytes < room;
    result.bytes.resize(before + room - window.out_nbytes);
    left = window.in_nbytes;
    if (step == Step::stream_end) {
      is_in_stream = false;
    } else if (step == Step::damaged || (!has_moved && read_nbytes == file.nbytes())) {
      result.error = std::string(name(compression)) +
                     (step == Step::damaged ? " that is damaged" : " that is truncated");
      return result;
    }
  }
}

}  // namespace transload
