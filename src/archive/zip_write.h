// Writing zip archives as PyTorch does: members stored, data aligned, sizes and CRC in a descriptor behind the data.
// Sources: PKWARE's APPNOTE.TXT; pytorch caffe2/serialize/inline_container.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace transload {

// Lays members out one after the other and writes their records. All offsets are fixed before any CRC is known.
class ZipLayout {
 public:
  // Each member's data begins at a multiple of `alignment` bytes.
  explicit ZipLayout(std::uint64_t alignment) : alignment_(alignment) {}

  // Adds a member of nbytes and returns its number.
  std::size_t add(std::string name, std::uint64_t nbytes);
  std::size_t size() const { return members_.size(); }
  std::uint64_t data_offset(std::size_t member) const { return members_[member].data_offset; }
  std::uint64_t data_end(std::size_t member) const {
    return members_[member].data_offset + members_[member].nbytes;
  }

  // The bytes before a member's data: its local header and the padding.
  std::string header(std::size_t member) const;
  // The bytes behind a member's data: the data descriptor. Empty for a member without bytes.
  std::string descriptor(std::size_t member, std::uint32_t crc32) const;
  // The central directory and the end records, from directory_offset() on. crc32: by member.
  std::string directory(const std::vector<std::uint32_t>& crc32) const;
  std::uint64_t directory_offset() const { return next_; }

 private:
  struct Member {
    std::string name;
    std::uint64_t nbytes, header_offset, data_offset;
  };
  std::string local_zip64(const Member& member) const;
  std::string directory_entry(const Member& member, std::uint32_t crc32) const;
  std::string end_records(std::uint64_t directory_nbytes) const;

  std::uint64_t alignment_, next_ = 0;
  std::vector<Member> members_;
};

}  // namespace transload
