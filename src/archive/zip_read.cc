#include "archive/zip_read.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "io/file.h"
#include "transload/error.h"

namespace transload {
namespace {

using zip::at;

constexpr std::size_t kMostHidden = 100'000;

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = is_upper(c) ? static_cast<char>(c + 32) : c;
  return lower;
}

// Local headers, read in file order. Where headers stand close together one read fetches many; otherwise each is read
// alone, without the data behind it.
class HeaderReader {
 public:
  explicit HeaderReader(const File& file) : file_(file) {}

  // The bytes from `offset` on, at least `nbytes`; `is_next_close`: another header follows within kClose bytes.
  std::string_view at(std::uint64_t offset, std::uint64_t nbytes, std::uint64_t next_offset) {
    if (offset < begin_ || offset + nbytes > begin_ + window_.size()) {
      const bool is_next_close = next_offset > offset && next_offset - offset < kClose;
      window_ = read_text(file_, offset,
                          is_next_close ? std::min(kWindow, file_.nbytes() - offset) : nbytes);
      begin_ = offset;
    }
    return std::string_view(window_).substr(offset - begin_);
  }

 private:
  static constexpr std::uint64_t kWindow = 64 << 10, kClose = 2048;
  const File& file_;
  std::string window_;
  std::uint64_t begin_ = 0;
};

}  // namespace

ZipContainer::ZipContainer(const File& file) : Container(file) {
  try {
    read_directory();
    add_names();
    add_name_oddities();
  } catch (const FormatError& error) {
    damage_ = error.what();
    members_.clear();
  }
}

void ZipContainer::read_directory() {
  end_ = zip::read_end(file_);
  directory_ = read_text(file_, end_.directory_offset, end_.directory_nbytes);
  members_.reserve(end_.count);
  std::string_view rest = directory_;
  for (std::uint64_t i = 0; i < end_.count; ++i) {
    const std::uint64_t offset = end_.directory_offset + directory_.size() - rest.size();
    if (rest.size() < zip::kDirectoryEntryNbytes ||
        at<std::uint32_t>(rest, 0) != zip::kDirectoryEntry) {
      fail(offset, "expected the directory entry of member " + std::to_string(i) + " of " +
                       std::to_string(end_.count));
    }
    const std::uint64_t nbytes = zip::kDirectoryEntryNbytes + at<std::uint16_t>(rest, 28) +
                                 at<std::uint16_t>(rest, 30) + at<std::uint16_t>(rest, 32);
    if (nbytes > rest.size()) fail(offset, "a directory entry reaches beyond the directory");
    members_.push_back(read_entry(rest, offset));
    rest.remove_prefix(nbytes);
  }
}

Member ZipContainer::read_entry(std::string_view entry, std::uint64_t offset) {
  const auto flags = at<std::uint16_t>(entry, 8), method = at<std::uint16_t>(entry, 10);
  const auto name_nbytes = at<std::uint16_t>(entry, 28),
             extra_nbytes = at<std::uint16_t>(entry, 30);
  Member member{entry.substr(zip::kDirectoryEntryNbytes, name_nbytes),
                at<std::uint32_t>(entry, 42),
                0,
                at<std::uint32_t>(entry, 20),
                at<std::uint32_t>(entry, 24),
                at<std::uint32_t>(entry, 16),
                method == zip::kDeflated ? Encoding::deflated : Encoding::as_is};
  const auto fail_member = [&](const std::string& what) {
    fail(offset, label_of(member) + ": " + what);
  };
  const std::string_view extra =
      entry.substr(zip::kDirectoryEntryNbytes + name_nbytes, extra_nbytes);
  if (!zip::take_zip64(extra, &member.nbytes, &member.stored_nbytes, &member.header_offset))
    fail_member("its size or offset should be in a zip64 field, which is missing or too short");
  if (flags & zip::kEncrypted) add_oddity(offset, label_of(member) + " is encrypted");
  if (method != zip::kStored && method != zip::kDeflated) {
    fail_member("compression method " + std::to_string(method) +
                " is not known; expected 0 (stored) or 8 (deflated)");
  }
  if (method == zip::kStored && member.stored_nbytes != member.nbytes) {
    fail_member("it is stored without compression in " + std::to_string(member.stored_nbytes) +
                " bytes, but should have " + std::to_string(member.nbytes));
  }
  const std::uint64_t size = file_.nbytes();
  if (member.header_offset > size || size - member.header_offset < zip::kLocalHeaderNbytes ||
      member.stored_nbytes > size - member.header_offset - zip::kLocalHeaderNbytes) {
    fail_member("its " + std::to_string(member.stored_nbytes) + " bytes at offset " +
                std::to_string(member.header_offset) + " reach beyond the end of the file at " +
                std::to_string(size));
  }
  return member;
}

void ZipContainer::add_names() {
  constexpr std::uint32_t kAhead =
      8;  // the index is too large for the cache: entries are prefetched
  const auto hash = [&](std::uint32_t i) {
    return std::hash<std::string_view>()(members_[i].name);
  };
  by_name_.reserve(members_.size());
  for (std::uint32_t i = 0; i < members_.size(); ++i) {
    if (i + kAhead < members_.size()) by_name_.prefetch(hash(i + kAhead));
    const auto is_same = [&](std::uint32_t other) {
      return members_[other].name == members_[i].name;
    };
    try {
      if (by_name_.find_or_add(hash(i), is_same, i))
        add_oddity(members_[i].header_offset, label_of(members_[i]) + " is in the directory twice");
    } catch (const HashCollisionError& error) {
      fail(members_[i].header_offset, label_of(members_[i]) + ": " + error.what());
    }
  }
}

// Names that readers understand in different ways: PyTorch's reader, miniz, ignores case and ends names at a NUL; other
// programs unpack an archive and follow "..".
void ZipContainer::add_name_oddities() {
  std::set<std::string> seen;
  const bool has_upper_case = std::ranges::any_of(
      members_, [](const Member& member) { return std::ranges::any_of(member.name, is_upper); });
  for (const Member& member : members_) {
    const auto odd = [&](const std::string& what) {
      add_oddity(member.header_offset, label_of(member) + what);
    };
    if (member.name.find('\0') != std::string_view::npos) odd(" has a NUL in its name");
    if (member.name.starts_with('/') || member.name.find("..") != std::string_view::npos) {
      for (const auto& part : std::filesystem::path(member.name)) {
        if (part == ".." || part == "/") odd(" leads out of the folder that it is unpacked in");
      }
    }
    if (has_upper_case && !seen.insert(lower_case(member.name)).second)
      odd(" is there twice for readers that ignore case, as PyTorch does");
  }
}

Member* ZipContainer::find(std::string_view name) {
  if (next_ < members_.size() && members_[next_].name == name) return &members_[next_++];
  const auto is_same = [&](std::uint32_t number) { return members_[number].name == name; };
  const std::uint32_t* const found = by_name_.find(std::hash<std::string_view>()(name), is_same);
  if (!found) return nullptr;
  next_ = *found + 1;
  return &members_[*found];
}

void ZipContainer::locate(std::span<Member* const> wanted) {
  std::vector<Member*> members(wanted.begin(), wanted.end());
  if (!std::ranges::is_sorted(members, {}, &Member::header_offset))
    std::ranges::sort(members, {}, &Member::header_offset);
  HeaderReader headers(file_);
  for (std::size_t i = 0; i < members.size(); ++i) {
    Member& member = *members[i];
    const std::uint64_t offset = member.header_offset;
    const std::uint64_t header_nbytes = zip::kLocalHeaderNbytes + member.name.size();
    if (header_nbytes > file_.nbytes() - offset)
      fail(offset, label_of(member) + ": the file ends in its local header");
    if (i > 0 && members[i - 1]->data_offset + members[i - 1]->stored_nbytes > offset)
      fail(offset, label_of(member) + " begins inside of " + label_of(*members[i - 1]));
    const std::string_view bytes = headers.at(
        offset, header_nbytes, i + 1 < members.size() ? members[i + 1]->header_offset : 0);
    // A name that is longer than the directory's may reach beyond the window: it is another name anyway.
    if (!bytes.starts_with(zip::kLocalSignature))
      fail(offset, label_of(member) + " has no local header where the directory says");
    const auto header = zip::decode_local_header(bytes);
    if (!header || header->name != member.name) {
      add_oddity(offset, label_of(member) + " is called \"" +
                             std::string(header ? header->name : "") + "\" in its local header");
    }
    const std::uint64_t data_offset = offset + zip::kLocalHeaderNbytes +
                                      at<std::uint16_t>(bytes, 26) + at<std::uint16_t>(bytes, 28);
    if (data_offset > file_.nbytes() || member.stored_nbytes > file_.nbytes() - data_offset) {
      fail(offset, label_of(member) + ": its " + std::to_string(member.stored_nbytes) +
                       " bytes from offset " + std::to_string(data_offset) +
                       " on reach beyond the end of the file at " + std::to_string(file_.nbytes()));
    }
    member.data_offset = data_offset;
  }
}

bool ZipContainer::locate_damaged(Member& member) const {
  const std::uint64_t nbytes =
      std::min(file_.nbytes() - member.header_offset,
               zip::kLocalHeaderNbytes + std::uint64_t{member.name.size()});
  const std::string bytes = read_text(file_, member.header_offset, nbytes);
  member.data_offset = member.header_offset + zip::kLocalHeaderNbytes +
                       at<std::uint16_t>(bytes, 26) + at<std::uint16_t>(bytes, 28);
  const auto header = zip::decode_local_header(bytes);
  return header && header->name == member.name;
}

std::vector<Member> ZipContainer::examine() {
  std::vector<Member> hidden;
  if (!damage_.empty()) {
    examine_gap(0, file_.nbytes(), hidden);
    return hidden;
  }
  std::vector<Member*> order;
  for (Member& member : members_) order.push_back(&member);
  std::ranges::sort(order, {}, &Member::header_offset);
  std::uint64_t end = 0;
  for (Member* const member : order) {
    try {
      if (!member->data_offset) locate({&member, 1});
      compare_local_header(*member);
    } catch (const FormatError& error) {
      add_oddity(member->header_offset, error.what());
      member->data_offset = 0;
      continue;
    }
    if (member->header_offset < end)
      add_oddity(member->header_offset, label_of(*member) + " begins inside of the member before");
    else
      examine_gap(end, member->header_offset, hidden);
    end = std::max(end, member->data_offset + member->stored_nbytes + descriptor_nbytes(*member));
  }
  examine_gap(end, end_.directory_offset, hidden);
  if (const std::uint64_t behind = file_.nbytes() - end_offset()) {
    add_oddity(end_offset(), std::to_string(behind) + " bytes behind the archive", false);
    examine_gap(end_offset(), file_.nbytes(), hidden);
  }
  return hidden;
}

void ZipContainer::compare_local_header(const Member& member) {
  const std::string bytes =
      read_text(file_, member.header_offset, member.data_offset - member.header_offset);
  const auto header = zip::decode_local_header(bytes);
  if (!header) return;  // locate() has said so
  const auto odd = [&](const std::string& what) {
    add_oddity(member.header_offset, label_of(member) + what + " in its local header");
  };
  const auto method = member.encoding == Encoding::deflated ? zip::kDeflated : zip::kStored;
  if (header->method != method) odd(" is compressed in another way");
  if (header->is_encrypted()) odd(" is encrypted");
  if (!header->has_descriptor() &&
      (header->nbytes != member.nbytes || header->stored_nbytes != member.stored_nbytes))
    odd(" has another size");
}

std::uint64_t ZipContainer::descriptor_nbytes(const Member& member) const {
  const std::string bytes = read_text(file_, member.header_offset, zip::kLocalHeaderNbytes);
  const std::uint64_t end = member.data_offset + member.stored_nbytes;
  if (!(at<std::uint16_t>(bytes, 6) & zip::kHasDescriptor) || file_.nbytes() - end < 24) return 0;
  // 16 bytes, or 24 with sizes of 64 bits; its signature may be missing.
  const std::string descriptor = read_text(file_, end, 24);
  if (!descriptor.starts_with(zip::kDescriptorSignature)) return 12;
  const bool is_long = at<std::uint64_t>(descriptor, 8) == member.stored_nbytes &&
                       at<std::uint64_t>(descriptor, 16) == member.nbytes;
  return is_long ? 24 : 16;
}

// Bytes that belong to no member. Holes of the file cost nothing; everything else is read once, to the end.
void ZipContainer::examine_gap(std::uint64_t begin, std::uint64_t end,
                               std::vector<Member>& hidden) {
  constexpr std::uint64_t kWindow = 1 << 20;
  constexpr std::uint64_t kOverlap = zip::kLocalSignature.size() - 1;
  bool has_content = false;
  const std::size_t hidden_before = hidden.size();
  for (std::uint64_t offset = begin; offset < end;) {
    offset = std::max(offset, file_.source->next_data(offset));
    if (offset >= end) break;
    const std::string window = read_text(file_, offset, std::min(kWindow, end - offset));
    has_content = has_content || window.find_first_not_of('\0') != std::string::npos;
    for (std::size_t here = window.find(zip::kLocalSignature); here != std::string::npos;) {
      const std::uint64_t header_nbytes = add_hidden(offset + here, end, hidden);
      here = window.find(zip::kLocalSignature, here + std::max<std::uint64_t>(1, header_nbytes));
    }
    if (end - offset <= kWindow) break;
    offset += kWindow - kOverlap;
  }
  if (!damage_.empty()) return;
  if (hidden.size() == hidden_before && has_content) {
    add_oddity(begin, std::to_string(end - begin) + " bytes that belong to no member", begin == 0);
  }
}

// Adds the member whose local header is at `offset`, if there is one. Returns the header's length, or 0: headers do not
// overlap. A member whose header does not state its size is taken to end at the next header, or where the gap does.
std::uint64_t ZipContainer::add_hidden(std::uint64_t offset, std::uint64_t gap_end,
                                       std::vector<Member>& hidden) {
  if (hidden.size() >= kMostHidden) return 0;
  constexpr std::uint64_t kMostName = 1000, kMostExtra = 64;
  const std::string bytes = read_text(
      file_, offset, std::min(gap_end - offset, zip::kLocalHeaderNbytes + kMostName + kMostExtra));
  const auto header = zip::decode_local_header(bytes);
  if (!header || header->name.empty() || header->header_nbytes > gap_end - offset) return 0;
  if (!hidden.empty() && hidden.back().nbytes == 0 && hidden.back().data_offset <= offset)
    hidden.back().stored_nbytes =
        std::min(hidden.back().stored_nbytes, offset - hidden.back().data_offset);
  const std::uint64_t data_offset = offset + header->header_nbytes, there = gap_end - data_offset;
  const bool has_size = header->stored_nbytes > 0 && header->stored_nbytes <= there;
  hidden_names_.emplace_back(header->name);
  hidden.push_back({hidden_names_.back(), offset, data_offset,
                    has_size ? header->stored_nbytes : there, has_size ? header->nbytes : 0,
                    header->crc32,
                    header->method == zip::kStored ? Encoding::as_is : Encoding::deflated});
  if (damage_.empty()) {
    add_oddity(offset, "the directory does not mention member \"" + hidden_names_.back() +
                           "\", which lies between the others");
  }
  return header->header_nbytes;
}

std::vector<Oddity> folder_oddities(ZipContainer& container, std::string_view folder) {
  std::vector<Oddity> oddities;
  const std::string begin = std::string(folder) + "/";
  for (const Member& member : container.members()) {
    if (member.name.starts_with(begin)) continue;
    oddities.push_back({member.header_offset,
                        label_of(member) + " lies outside of the folder \"" + std::string(folder) +
                            "\" that the other members are in",
                        true});
    if (oddities.size() == 100) break;
  }
  return oddities;
}

}  // namespace transload
