#include "archive/zip_records.h"

#include <algorithm>

#include "io/file.h"
#include "transload/error.h"

namespace transload::zip {
namespace {

constexpr std::uint16_t kZip64Id = 1;  // APPNOTE.TXT 4.5.3

[[noreturn]] void fail(const File& file, std::uint64_t offset, const std::string& what) {
  throw FormatError(file.name + ": offset " + std::to_string(offset) + ": " + what);
}

// The last bytes of a file, in which the end records stand.
struct Tail {
  std::string bytes;
  std::uint64_t offset;
  std::size_t end_at;  // of the end record in `bytes`; npos: there is none

  bool has_end() const { return end_at != std::string::npos; }
  bool has_locator() const {
    return end_at >= kLocatorNbytes &&
           at<std::uint32_t>(bytes, end_at - kLocatorNbytes) == kLocator64;
  }
  EndRecord end() const {
    const std::string_view record = std::string_view(bytes).substr(end_at);
    return {offset + end_at,
            kEndNbytes + at<std::uint16_t>(record, 20),
            at<std::uint16_t>(record, 10),
            at<std::uint32_t>(record, 12),
            at<std::uint32_t>(record, 16),
            at<std::uint16_t>(record, 4)};
  }
};

Tail read_tail(const File& file) {
  const std::uint64_t nbytes =
      std::min(file.nbytes(), kEndNbytes + kMaxCommentNbytes + kLocatorNbytes + kEnd64Nbytes);
  Tail tail{read_text(file, file.nbytes() - nbytes, nbytes), file.nbytes() - nbytes, 0};
  tail.end_at = tail.bytes.rfind(kEndSignature);
  if (tail.has_end() && nbytes - tail.end_at < kEndNbytes) tail.end_at = std::string::npos;
  return tail;
}

void take_end64(EndRecord& end, std::string_view record) {
  end.disk = at<std::uint32_t>(record, 16);
  end.count = at<std::uint64_t>(record, 32);
  end.directory_nbytes = at<std::uint64_t>(record, 40);
  end.directory_offset = at<std::uint64_t>(record, 48);
}

// Reads the zip64 end record that the locator points to. Returns where the end records begin.
std::uint64_t read_end64(const File& file, const Tail& tail, EndRecord& end) {
  const auto offset = at<std::uint64_t>(tail.bytes, tail.end_at - kLocatorNbytes + 8);
  if (offset > file.nbytes() || file.nbytes() - offset < kEnd64Nbytes)
    fail(file, end.offset, "the zip64 end record lies beyond the end of the file");
  const std::string record = read_text(file, offset, kEnd64Nbytes);
  if (at<std::uint32_t>(record, 0) != kEnd64)
    fail(file, offset, "expected a zip64 end record here, as its locator says");
  const EndRecord in_32_bits = end;
  take_end64(end, record);
  // Readers that look for only one of the two must find the same. miniz: mz_zip_reader_read_central_dir.
  const auto agree = [](std::uint64_t small, std::uint64_t whole, std::uint64_t most) {
    return small == std::min(whole, most) || small == most;
  };
  if (end.offset < kLocatorNbytes + kEnd64Nbytes ||
      offset + 12 + at<std::uint64_t>(record, 4) + kLocatorNbytes != end.offset ||
      !agree(in_32_bits.count, end.count, 0xFFFF) ||
      !agree(in_32_bits.directory_nbytes, end.directory_nbytes, kInZip64) ||
      !agree(in_32_bits.directory_offset, end.directory_offset, kInZip64)) {
    fail(file, end.offset, "the two end records differ, and readers believe one or the other");
  }
  return offset;
}

}  // namespace

std::optional<LocalHeader> decode_local_header(std::string_view bytes) {
  if (bytes.size() < kLocalHeaderNbytes || !bytes.starts_with(kLocalSignature)) return std::nullopt;
  const std::uint64_t name_nbytes = at<std::uint16_t>(bytes, 26),
                      extra_nbytes = at<std::uint16_t>(bytes, 28);
  if (bytes.size() - kLocalHeaderNbytes < name_nbytes) return std::nullopt;
  LocalHeader header{bytes.substr(kLocalHeaderNbytes, name_nbytes),
                     at<std::uint16_t>(bytes, 6),
                     at<std::uint16_t>(bytes, 8),
                     at<std::uint32_t>(bytes, 14),
                     at<std::uint32_t>(bytes, 18),
                     at<std::uint32_t>(bytes, 22),
                     kLocalHeaderNbytes + name_nbytes + extra_nbytes};
  if (header.has_descriptor()) header.stored_nbytes = header.nbytes = 0;
  const std::string_view rest = bytes.substr(kLocalHeaderNbytes + name_nbytes);
  if (rest.size() >= extra_nbytes)
    take_zip64(rest.substr(0, extra_nbytes), &header.nbytes, &header.stored_nbytes, nullptr);
  return header;
}

bool take_zip64(std::string_view extra, std::uint64_t* nbytes, std::uint64_t* stored_nbytes,
                std::uint64_t* header_offset) {
  const auto is_missing = [](const std::uint64_t* value) { return value && *value == kInZip64; };
  if (!is_missing(nbytes) && !is_missing(stored_nbytes) && !is_missing(header_offset)) return true;
  while (extra.size() >= 4) {
    const std::uint64_t field_nbytes = at<std::uint16_t>(extra, 2);
    if (field_nbytes > extra.size() - 4) return false;
    if (at<std::uint16_t>(extra, 0) != kZip64Id) {
      extra.remove_prefix(4 + field_nbytes);
      continue;
    }
    std::string_view field = extra.substr(4, field_nbytes);
    for (std::uint64_t* value : {nbytes, stored_nbytes, header_offset}) {
      if (!is_missing(value)) continue;
      if (field.size() < 8) return false;
      *value = at<std::uint64_t>(field, 0);
      field.remove_prefix(8);
    }
    return true;
  }
  return false;
}

EndRecord read_end(const File& file) {
  const std::uint64_t size = file.nbytes();
  if (size < kEndNbytes)
    fail(file, 0, "a zip archive of " + std::to_string(size) + " bytes; the file is truncated");
  const Tail tail = read_tail(file);
  if (!tail.has_end()) {
    fail(file, size,
         "the zip archive has no end record; the file is truncated (an interrupted download or "
         "save)");
  }
  EndRecord end = tail.end();
  const std::uint64_t records = tail.has_locator() ? read_end64(file, tail, end) : end.offset;
  if (end.disk != 0) fail(file, end.offset, "the zip archive spans several disks");
  if (end.directory_offset > size || end.directory_nbytes > size - end.directory_offset) {
    fail(file, end.offset,
         "the directory of " + std::to_string(end.directory_nbytes) + " bytes at offset " +
             std::to_string(end.directory_offset) + " reaches beyond the end of the file at " +
             std::to_string(size));
  }
  // Python's zipfile finds the directory by its length, counted back from the end records.
  if (end.directory_offset + end.directory_nbytes != records) {
    fail(file, end.offset,
         "the directory does not stand directly before the end records, so readers differ on "
         "where it is");
  }
  if (end.count > end.directory_nbytes / kDirectoryEntryNbytes) {
    fail(file, end.offset,
         "the directory of " + std::to_string(end.directory_nbytes) + " bytes cannot hold " +
             std::to_string(end.count) + " members");
  }
  if (end.count > 0xFFFFFFFE) fail(file, end.offset, "more than 4294967294 members");
  return end;
}

bool has_end(const File& file) { return file.nbytes() >= kEndNbytes && read_tail(file).has_end(); }

std::uint64_t last_archive_begin(const File& file) {
  const Tail tail = read_tail(file);
  if (!tail.has_end()) return 0;
  EndRecord end = tail.end();
  // The records follow one another: the offsets that they state count from the archive's own beginning.
  std::uint64_t directory_end = end.offset;
  if (tail.has_locator() && tail.end_at >= kLocatorNbytes + kEnd64Nbytes) {
    const std::size_t end64 = tail.end_at - kLocatorNbytes - kEnd64Nbytes;
    if (at<std::uint32_t>(tail.bytes, end64) != kEnd64) return 0;
    take_end64(end, std::string_view(tail.bytes).substr(end64));
    directory_end = tail.offset + end64;
  }
  if (end.directory_nbytes > directory_end) return 0;
  const std::uint64_t directory = directory_end - end.directory_nbytes;
  if (end.directory_offset >= directory) return 0;
  const std::uint64_t begin = directory - end.directory_offset;
  return read_text(file, begin, 4) == kLocalSignature ? begin : 0;
}

}  // namespace transload::zip
