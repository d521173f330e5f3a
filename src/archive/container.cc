#include "archive/container.h"

#include <libdeflate.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "io/file.h"
#include "transload/error.h"

namespace transload {
namespace {

constexpr std::size_t kMaxOddities = 100;
// Deflate makes at most 1032 bytes of one; the values of models inflate to about five times their size.
constexpr std::uint64_t kMostPossibleRatio = 1040, kMostRatio = 20, kMostInflated = 16 << 20;

[[noreturn]] void fail_at(const File& file, std::uint64_t offset, const std::string& what) {
  throw FormatError(file.name + ": offset " + std::to_string(offset) + ": " + what);
}

}  // namespace

void Container::fail(std::uint64_t offset, const std::string& what) const {
  fail_at(file_, offset, what);
}

// Keeps the first few, and the first that makes readers differ: it decides whether the file is refused.
void Container::add_oddity(std::uint64_t offset, std::string text, bool readers_differ) {
  const auto differ = [](const Oddity& oddity) { return oddity.readers_differ; };
  if (oddities_.size() >= kMaxOddities &&
      (!readers_differ || std::any_of(oddities_.begin(), oddities_.end(), differ)))
    return;
  oddities_.push_back({offset, std::move(text), readers_differ});
}

std::string Container::read(Member& member, std::uint64_t max_nbytes) {
  if (member.nbytes > max_nbytes) {
    fail(member.header_offset, label_of(member) + " has " + std::to_string(member.nbytes) +
                                   " bytes; at most " + std::to_string(max_nbytes) + " are read");
  }
  Member* const one = &member;
  if (!member.data_offset) locate({&one, 1});
  std::string bytes = read_member(file_, member);
  if (keeps_largest_ && bytes.size() > kept_.size()) {
    kept_ = bytes;
    kept_offset_ = member.data_offset;
  }
  return bytes;
}

std::optional<std::string> Container::take_kept(const Member& member) {
  if (kept_offset_ == 0 || kept_offset_ != member.data_offset) return std::nullopt;
  kept_offset_ = 0;
  return std::exchange(kept_, std::string());
}

std::string label_of(const Member& member) { return "member \"" + std::string(member.name) + "\""; }

std::string read_member(const File& file, const Member& member) {
  const auto fail = [&](std::uint64_t offset, const std::string& what) {
    fail_at(file, offset, label_of(member) + " " + what);
  };
  std::string stored = read_text(file, member.data_offset, member.stored_nbytes);
  if (member.encoding == Encoding::as_is) return stored;
  if (member.nbytes / kMostPossibleRatio > member.stored_nbytes)
    fail(member.header_offset, "claims to inflate to more bytes than deflate can produce");
  if (member.nbytes > kMostInflated && member.nbytes / kMostRatio > member.stored_nbytes) {
    fail(member.header_offset, "inflates from " + std::to_string(member.stored_nbytes) + " to " +
                                   std::to_string(member.nbytes) + " bytes: a decompression bomb");
  }
  std::string inflated(member.nbytes, '\0');
  const std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> inflate(
      libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
  if (!inflate)
    throw IoError(file.name + ": not enough memory to inflate " + label_of(member), ENOMEM);
  if (libdeflate_deflate_decompress(inflate.get(), stored.data(), stored.size(), inflated.data(),
                                    inflated.size(), nullptr) != LIBDEFLATE_SUCCESS) {
    fail(member.data_offset,
         "is damaged: it does not inflate to " + std::to_string(member.nbytes) + " bytes");
  }
  return inflated;
}

std::string read_first(const File& file, const Member& member, std::uint64_t most_nbytes) {
  const std::uint64_t there = file.nbytes() - std::min(member.data_offset, file.nbytes());
  const std::uint64_t stored_nbytes = std::min(member.stored_nbytes, there);
  if (member.encoding == Encoding::as_is)
    return read_text(file, member.data_offset, std::min(stored_nbytes, most_nbytes));
  constexpr std::uint64_t kChunk = 64 << 10;
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)  // negative: without zlib's header, as in zip
    throw IoError(file.name + ": not enough memory to inflate " + label_of(member), ENOMEM);
  std::string decoded, stored;
  std::uint64_t read_nbytes = 0;
  int result = Z_OK;
  while (result == Z_OK && decoded.size() < most_nbytes && read_nbytes < stored_nbytes) {
    stored = read_text(file, member.data_offset + read_nbytes,
                       std::min(kChunk, stored_nbytes - read_nbytes));
    read_nbytes += stored.size();
    stream.next_in = reinterpret_cast<Bytef*>(stored.data());
    stream.avail_in = static_cast<uInt>(stored.size());
    while (result == Z_OK && decoded.size() < most_nbytes) {
      const std::size_t before = decoded.size();
      decoded.resize(before + std::min(kChunk, most_nbytes - before));
      stream.next_out = reinterpret_cast<Bytef*>(decoded.data() + before);
      stream.avail_out = static_cast<uInt>(decoded.size() - before);
      result = inflate(&stream, Z_NO_FLUSH);
      decoded.resize(decoded.size() - stream.avail_out);
      if (stream.avail_out) break;  // the input is used up
    }
  }
  inflateEnd(&stream);
  return decoded;
}

}  // namespace transload
