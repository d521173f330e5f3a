// The zip container, read by its central directory, with every claim checked: sizes and offsets inside the file, no
// member twice, no two records that contradict each other.
// Sources: PKWARE's APPNOTE.TXT; pytorch caffe2/serialize/inline_container.cc and miniz for what PyTorch's reader does.
#pragma once

#include <deque>

#include "archive/container.h"
#include "archive/zip_records.h"
#include "types/flat_index.h"

namespace transload {

class ZipContainer final : public Container {
 public:
  // Reads the directory. If it is missing or damaged, there are no members and damage() says why.
  explicit ZipContainer(const File& file);

  std::string_view kind() const override { return "zip"; }
  void locate(std::span<Member* const> members) override;
  std::vector<Member> examine() override;

  // Looks up a member by its whole name; null if absent. O(1), and cheapest when members are requested in directory
  // order.
  Member* find(std::string_view name);

  // Where a damaged local header says that the member's data begins, without a check. Returns whether the header is
  // intact. For recovery.
  bool locate_damaged(Member& member) const;

  std::uint64_t directory_offset() const { return end_.directory_offset; }
  // Where the archive ends, its comment included. What follows belongs to no archive.
  std::uint64_t end_offset() const { return end_.offset + end_.nbytes; }

 private:
  void read_directory();
  Member read_entry(std::string_view entry, std::uint64_t offset);
  void add_names();
  void add_name_oddities();
  void compare_local_header(const Member& member);
  void examine_gap(std::uint64_t begin, std::uint64_t end, std::vector<Member>& hidden);
  std::uint64_t add_hidden(std::uint64_t offset, std::uint64_t gap_end,
                           std::vector<Member>& hidden);
  std::uint64_t descriptor_nbytes(const Member& member) const;

  zip::EndRecord end_{};
  std::string directory_;
  FlatIndex<std::uint32_t> by_name_;  // numbers of members_
  std::uint32_t next_ = 0;            // the number after the member that was found last
  std::deque<std::string> hidden_names_;
};

// Oddities of an archive whose members must all lie in one folder, as PyTorch writes them.
std::vector<Oddity> folder_oddities(ZipContainer& zip, std::string_view folder);

}  // namespace transload
