// The zip container as PyTorch writes and reads it: members stored, zip64, data aligned to 64 bytes.
// Facts: pytorch caffe2/serialize/inline_container.cc and PKWARE's APPNOTE; docs/formats/torch_zip.md.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
#include "types/flat_index.h"

namespace transload {

struct ZipMember {
  std::string_view name;  // with its folder; a view into the archive's directory
  std::uint64_t header_offset, stored_nbytes, nbytes;
  std::uint64_t data_offset = 0;  // known after find_data()
  std::uint32_t crc32;
  bool deflated;
};

// What stands before a member's data. Readers differ on whether they believe it or the directory.
struct ZipLocalHeader {
  std::string name;
  std::uint16_t method;
  bool encrypted;
  bool has_sizes;  // they are not left to the descriptor behind the data
  std::uint64_t nbytes, stored_nbytes;
  std::uint64_t descriptor_nbytes;
};

// Told what a file does that no writer of models does.
using ZipOddFunction = std::function<void(std::uint64_t offset, const std::string& what)>;

// The central directory of a file, checked: sizes and offsets inside the file, no member twice.
class ZipArchive {
 public:
  // With `odd`, what is refused otherwise is told and reading goes on: a name that is there twice, in no folder or in
  // several, or is another in the local header; encrypted members.
  explicit ZipArchive(const File& file, const ZipOddFunction& odd = {});

  const File& file() const { return file_; }
  std::string_view root() const { return root_; }  // the folder that all members lie in
  // Without the folder; null if there is none. Quick for what stands behind the one found before.
  ZipMember* find(std::string_view name);
  std::vector<ZipMember>& members() { return members_; }  // in the order of the directory
  // Reads the local headers of these members, in file order, for where their data begins.
  void find_data(std::vector<ZipMember*> members);
  // Of one member whose header may be damaged: by the lengths that it says. Whether it is sound.
  bool find_data_anyway(ZipMember& member) const;
  std::string read(ZipMember& member,
                   std::uint64_t max_nbytes);                  // all its bytes, inflated if need be
  ZipLocalHeader local_header(const ZipMember& member) const;  // of one whose data was found
  std::uint64_t directory_offset() const { return directory_offset_; }
  std::uint64_t end_offset() const { return end_offset_; }  // of the archive, its comment included

 private:
  // `refuse`: called with what is odd.
  template <class Refuse>
  ZipMember read_entry(std::string_view entry, std::uint64_t where, const Refuse& refuse) const;
  template <class Refuse>
  bool add_name(std::uint32_t number, const Refuse& refuse);
  // Whether a member, by number, has that name without the folder.
  auto is_called(std::string_view name) const {
    return [this, name](std::uint32_t number) {
      return members_[number].name.substr(root_.size() + 1) == name;
    };
  }
  void refuse_names_that_differ_in_case() const;
  [[noreturn]] void fail(std::uint64_t offset, const std::string& what) const;

  File file_;
  bool odd_;  // it may be
  std::string directory_;
  std::uint64_t directory_offset_ = 0, end_offset_ = 0;
  std::string root_;
  std::vector<ZipMember> members_;
  FlatIndex<std::uint32_t> by_name_;  // numbers of members_
  std::uint32_t next_ = 0xFFFFFFFF;   // the number after the one found last; not with `odd`
};

// Whether a file has the end record of an archive.
bool has_archive_end(const File& file);

// Where the archive begins whose end is the last in a file, by the length of its directory; 0 where that cannot be told.
// Not 0: other bytes stand before it, as other archives do in a file of torch.distributed.checkpoint.
std::uint64_t archive_begin(const File& file);

// All bytes of a member whose data was found, inflated if need be. Throws FormatError if it does not inflate to its size.
std::string read_member(const File& file, const ZipMember& member);

// Lays members out one after the other, and writes their headers. Offsets are fixed before any CRC is known.
class ZipLayout {
 public:
  explicit ZipLayout(std::uint64_t alignment) : alignment_(alignment) {}

  // The next member: returns its number. Its data begins at data_offset(number).
  std::size_t add(std::string name, std::uint64_t nbytes);
  std::uint64_t data_offset(std::size_t member) const { return members_[member].data_offset; }
  std::size_t size() const { return members_.size(); }

  // What stands before a member's data: its local header, with padding.
  std::string header(std::size_t member) const;
  // What stands behind it: the data descriptor.
  std::string descriptor(std::size_t member, std::uint32_t crc32) const;
  std::uint64_t data_end(std::size_t member) const {
    return members_[member].data_offset + members_[member].nbytes;
  }
  // The central directory and the end records, from directory_offset() on.
  std::string directory(const std::vector<std::uint32_t>& crc32) const;
  std::uint64_t directory_offset() const { return next_; }

 private:
  struct Member {
    std::string name;
    std::uint64_t nbytes, header_offset, data_offset;
  };
  std::string local_zip64(const Member& member) const;

  std::uint64_t alignment_, next_ = 0;
  std::vector<Member> members_;
};

}  // namespace transload
