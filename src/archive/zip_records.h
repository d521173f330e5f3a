// The records of a zip archive, as bytes. All numbers are little-endian, as on the machines that this library runs on.
// Source: PKWARE's APPNOTE.TXT, sections 4.3.7 to 4.3.16 and 4.5.3.
//
//   local header     30 bytes   signature, version, flags 6, method 8, time, date, crc 14, stored 18, size 22,
//                               name length 26, extra length 28; then the name, the extra fields, the member's bytes
//   data descriptor  12 to 24   optional signature, crc, stored and size in 32 or 64 bits; behind the member's bytes
//   directory entry  46 bytes   signature, …, flags 8, method 10, crc 16, stored 20, size 24, lengths of name 28,
//                               extra 30 and comment 32, offset of the local header 42; then these three
//   end record       22 bytes   signature, disk 4, count 10, directory's size 12 and offset 16, comment's length 20
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "transload/source.h"

namespace transload::zip {

inline constexpr std::uint32_t kLocalHeader = 0x04034B50, kDescriptor = 0x08074B50,
                               kDirectoryEntry = 0x02014B50, kEnd = 0x06054B50, kEnd64 = 0x06064B50,
                               kLocator64 = 0x07064B50;
inline constexpr std::string_view kLocalSignature = "PK\3\4", kDescriptorSignature = "PK\7\10",
                                  kEndSignature = "PK\5\6";
inline constexpr std::uint64_t kLocalHeaderNbytes = 30, kDirectoryEntryNbytes = 46, kEndNbytes = 22,
                               kEnd64Nbytes = 56, kLocatorNbytes = 20, kMaxCommentNbytes = 65535;
inline constexpr std::uint32_t kInZip64 = 0xFFFFFFFF;  // the number is in the zip64 extra field
inline constexpr std::uint16_t kUtf8 = 0x0800, kHasDescriptor = 0x0008, kEncrypted = 0x0001;
inline constexpr std::uint16_t kStored = 0, kDeflated = 8;  // methods

template <class Number>
Number at(std::string_view bytes, std::uint64_t offset) {
  Number value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <class Number>
void put(std::string& out, Number value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// A local header, decoded. Readers differ on whether they believe it or the directory.
struct LocalHeader {
  std::string_view name;
  std::uint16_t flags, method;
  std::uint32_t crc32;
  // Zero if the descriptor behind the member's bytes states them; kInZip64 if the extra field was not in `bytes`.
  std::uint64_t stored_nbytes, nbytes;
  std::uint64_t header_nbytes;  // up to the member's first byte
  bool has_descriptor() const { return (flags & kHasDescriptor) != 0; }
  bool is_encrypted() const { return (flags & kEncrypted) != 0; }
};

// Decodes the local header at the start of `bytes`. Empty if there is none, or if `bytes` ends before its name does.
// The only decoder of local headers: the reader, the scanner and recovery share it.
std::optional<LocalHeader> decode_local_header(std::string_view bytes);

// Replaces those of the three numbers that are kInZip64 by the next number of the zip64 field, in this order. Returns
// false if a number is missing. A null pointer stands for a number that the record does not have.
bool take_zip64(std::string_view extra, std::uint64_t* nbytes, std::uint64_t* stored_nbytes,
                std::uint64_t* header_offset);

// The end records, checked against the size of the file.
struct EndRecord {
  std::uint64_t offset, nbytes;  // of the record itself, including the comment
  std::uint64_t count, directory_nbytes, directory_offset, disk;
};

// Finds and checks the end records. Throws FormatError with path and offset if there are none, if they contradict each
// other, or if the directory that they describe does not lie directly before them.
EndRecord read_end(const File& file);

// Whether the file has an end record, right or wrong.
bool has_end(const File& file);

// Returns the offset at which the last archive of a file begins, computed from the length of its directory; 0 if that is
// the start of the file or cannot be told. torch.distributed.checkpoint writes archives one after the other.
std::uint64_t last_archive_begin(const File& file);

}  // namespace transload::zip
