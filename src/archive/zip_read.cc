#include "archive/zip_read.h"

#include <libdeflate.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>

#include "transload/error.h"
#include "types/checked.h"

namespace transload {
namespace {

// APPNOTE.TXT 4.3.7 to 4.3.16.
constexpr std::uint32_t kLocalHeader = 0x04034B50, kDescriptor = 0x08074B50,
                        kDirectoryEntry = 0x02014B50;
constexpr std::uint32_t kEnd = 0x06054B50, kEnd64 = 0x06064B50, kLocator64 = 0x07064B50;
constexpr std::uint64_t kLocalHeaderNbytes = 30, kDirectoryEntryNbytes = 46, kEndNbytes = 22,
                        kEnd64Nbytes = 56;
constexpr std::uint64_t kLocatorNbytes = 20, kMaxCommentNbytes = 65535;
constexpr std::uint64_t kMostInflated = 16 << 20, kMostRatio = 20;  // of texts; ours
constexpr std::uint32_t kInZip64 = 0xFFFFFFFF;
// 0x4246, "FB": caffe2/serialize/inline_container.cc, getPadding.
constexpr std::uint16_t kPaddingId = 0x4246;
constexpr std::uint16_t kUtf8 = 0x0800, kHasDescriptor = 0x0008, kEncrypted = 0x0001;

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

std::uint32_t clipped(std::uint64_t value) {
  return value >= kInZip64 ? kInZip64 : static_cast<std::uint32_t>(value);
}

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }

std::string label_of(const ZipMember& member) {
  return "member \"" + std::string(member.name) + "\"";
}

}  // namespace

namespace {

[[noreturn]] void fail_at(const File& file, std::uint64_t offset, const std::string& what) {
  throw FormatError(file.name + ": offset " + std::to_string(offset) + ": " + what);
}

// What the end records of an archive say of its directory.
struct End {
  std::uint64_t offset, nbytes;  // of the end record, its comment included
  std::uint64_t count, directory_nbytes, directory_offset, disk;
};

// The last bytes of a file, in which the end records stand; `found`: where in them the end record is, or npos.
struct Tail {
  std::string bytes;
  std::uint64_t offset;
  std::size_t found;
};

Tail read_tail(const File& file) {
  const std::uint64_t nbytes =
      std::min(file.nbytes(), kEndNbytes + kMaxCommentNbytes + kLocatorNbytes + kEnd64Nbytes);
  Tail tail{read_text(file, file.nbytes() - nbytes, nbytes), file.nbytes() - nbytes, 0};
  tail.found = tail.bytes.rfind("PK\5\6");
  if (tail.found != std::string::npos && nbytes - tail.found < kEndNbytes)
    tail.found = std::string::npos;
  return tail;
}

End end_in(std::string_view record, std::uint64_t offset) {
  return {offset,
          kEndNbytes + at<std::uint16_t>(record, 20),
          at<std::uint16_t>(record, 10),
          at<std::uint32_t>(record, 12),
          at<std::uint32_t>(record, 16),
          at<std::uint16_t>(record, 4)};
}

void take_end64(End& end, std::string_view record) {
  end.disk = at<std::uint32_t>(record, 16);
  end.count = at<std::uint64_t>(record, 32);
  end.directory_nbytes = at<std::uint64_t>(record, 40);
  end.directory_offset = at<std::uint64_t>(record, 48);
}

bool has_locator(const Tail& tail) {
  return tail.found >= kLocatorNbytes &&
         at<std::uint32_t>(tail.bytes, tail.found - kLocatorNbytes) == kLocator64;
}

// Checked against the file.
End find_end(const File& file) {
  const std::uint64_t size = file.nbytes();
  if (size < kEndNbytes)
    fail_at(file, 0, "a zip archive of " + std::to_string(size) + " bytes, cut short");
  const Tail tail = read_tail(file);
  if (tail.found == std::string::npos) {
    fail_at(
        file, size,
        "no end of a zip archive; the file was cut short (a download or a save that broke off)");
  }
  End end = end_in(std::string_view(tail.bytes).substr(tail.found), tail.offset + tail.found);
  std::uint64_t records = end.offset;  // where they begin
  if (has_locator(tail)) {
    const auto end64 = at<std::uint64_t>(tail.bytes, tail.found - kLocatorNbytes + 8);
    if (end64 > size || size - end64 < kEnd64Nbytes)
      fail_at(file, end.offset, "a zip64 end record beyond the file");
    const std::string record = read_text(file, end64, kEnd64Nbytes);
    if (at<std::uint32_t>(record, 0) != kEnd64)
      fail_at(file, end64, "no zip64 end record where the locator says");
    const End in_32_bits = end;
    take_end64(end, record);
    records = end64;
    // Readers that look for only one of the two must find the same. miniz: mz_zip_reader_read_central_dir.
    const auto agree = [](std::uint64_t small, std::uint64_t whole, std::uint64_t most) {
      return small == std::min(whole, most) || small == most;
    };
    if (end.offset < kLocatorNbytes + kEnd64Nbytes ||
        end64 + 12 + at<std::uint64_t>(record, 4) + kLocatorNbytes != end.offset ||
        !agree(in_32_bits.count, end.count, 0xFFFF) ||
        !agree(in_32_bits.directory_nbytes, end.directory_nbytes, kInZip64) ||
        !agree(in_32_bits.directory_offset, end.directory_offset, kInZip64)) {
      fail_at(file, end.offset, "two end records that differ: readers take one or the other");
    }
  }
  if (end.disk != 0) fail_at(file, end.offset, "a zip archive of several disks");
  if (end.directory_offset > size || end.directory_nbytes > size - end.directory_offset) {
    fail_at(file, end.offset,
            "a directory of " + std::to_string(end.directory_nbytes) + " bytes at offset " +
                std::to_string(end.directory_offset) + ", beyond the file's " +
                std::to_string(size));
  }
  // By its length from the end others find it: Python's zipfile.
  if (end.directory_offset + end.directory_nbytes != records) {
    fail_at(
        file, end.offset,
        "a directory that does not stand before the end records: readers differ on where it is");
  }
  if (end.count > end.directory_nbytes / kDirectoryEntryNbytes) {
    fail_at(file, end.offset,
            std::to_string(end.count) + " members in a directory of " +
                std::to_string(end.directory_nbytes) + " bytes");
  }
  if (end.count > 0xFFFFFFFE) fail_at(file, end.offset, "more than 4294967294 members");
  return end;
}

// Those of sizes and offset that do not fit 32 bits are in the zip64 field, in this order.
void take_zip64(ZipMember& member, std::string_view extra,
                const std::function<void(const std::string&)>& fail) {
  if (member.nbytes != kInZip64 && member.stored_nbytes != kInZip64 &&
      member.header_offset != kInZip64)
    return;
  while (extra.size() >= 4) {
    const std::uint64_t field_nbytes = at<std::uint16_t>(extra, 2);
    if (field_nbytes > extra.size() - 4) break;
    if (at<std::uint16_t>(extra, 0) != 1) {
      extra.remove_prefix(4 + field_nbytes);
      continue;
    }
    std::string_view field = extra.substr(4, field_nbytes);
    for (std::uint64_t* value : {&member.nbytes, &member.stored_nbytes, &member.header_offset}) {
      if (*value != kInZip64) continue;
      if (field.size() < 8) fail("a zip64 field that is too short");
      *value = at<std::uint64_t>(field, 0);
      field.remove_prefix(8);
    }
    return;
  }
  fail("its size or place should be in a zip64 field, there is none");
}

}  // namespace

bool has_archive_end(const File& file) {
  return file.nbytes() >= kEndNbytes && read_tail(file).found != std::string::npos;
}

std::uint64_t archive_begin(const File& file) {
  const Tail tail = read_tail(file);
  if (tail.found == std::string::npos) return 0;
  End end = end_in(std::string_view(tail.bytes).substr(tail.found), tail.offset + tail.found);
  // The records follow one another: what they say of places counts from the archive's own beginning.
  std::uint64_t directory_end = end.offset;
  if (has_locator(tail) && tail.found >= kLocatorNbytes + kEnd64Nbytes) {
    const std::size_t end64 = tail.found - kLocatorNbytes - kEnd64Nbytes;
    if (at<std::uint32_t>(tail.bytes, end64) != kEnd64) return 0;
    take_end64(end, std::string_view(tail.bytes).substr(end64));
    directory_end = tail.offset + end64;
  }
  if (end.directory_nbytes > directory_end) return 0;
  const std::uint64_t directory = directory_end - end.directory_nbytes;
  if (end.directory_offset >= directory) return 0;
  const std::uint64_t begin = directory - end.directory_offset;
  return read_text(file, begin, 4) == "PK\3\4" ? begin : 0;
}

void ZipArchive::fail(std::uint64_t offset, const std::string& what) const {
  fail_at(file_, offset, what);
}

ZipArchive::ZipArchive(const File& file, const ZipOddFunction& odd)
    : file_(file), odd_(odd != nullptr) {
  const End end = find_end(file);
  directory_ = read_text(file, end.directory_offset, end.directory_nbytes);
  directory_offset_ = end.directory_offset;
  end_offset_ = end.offset + end.nbytes;
  members_.reserve(end.count);
  by_name_.reserve(end.count);
  std::string_view rest = directory_;
  for (std::uint32_t i = 0; i < end.count; ++i) {
    const std::uint64_t where = directory_offset_ + directory_.size() - rest.size();
    if (rest.size() < kDirectoryEntryNbytes || at<std::uint32_t>(rest, 0) != kDirectoryEntry) {
      fail(where, "no directory entry, expected member " + std::to_string(i) + " of " +
                      std::to_string(end.count));
    }
    const std::uint64_t whole = kDirectoryEntryNbytes + at<std::uint16_t>(rest, 28) +
                                at<std::uint16_t>(rest, 30) + at<std::uint16_t>(rest, 32);
    if (whole > rest.size()) fail(where, "a directory entry that ends beyond the directory");
    const auto refuse = [&](const std::string& what) {
      if (!odd) fail(where, what);
      odd(where, what);
    };
    members_.push_back(read_entry(rest, where, refuse));
    rest.remove_prefix(whole);
  }
  bool has_upper_case = false;
  constexpr std::uint32_t kAhead = 8;  // of what is added, the index is too large for the cache
  const auto in_folder = [&](std::uint32_t i) {
    const std::string_view name = members_[i].name;
    return name.substr(std::min(name.find('/') + 1, name.size()));
  };
  for (std::uint32_t i = 0; i < end.count; ++i) {
    if (i + kAhead < end.count)
      by_name_.expect(std::hash<std::string_view>()(in_folder(i + kAhead)));
    const auto refuse = [&](const std::string& what) {
      if (!odd) fail(members_[i].header_offset, what);
      odd(members_[i].header_offset, what);
    };
    has_upper_case = add_name(i, refuse) || has_upper_case;
  }
  if (odd) return;
  if (has_upper_case) refuse_names_that_differ_in_case();
  next_ = 0;
}

template <class Refuse>
ZipMember ZipArchive::read_entry(std::string_view entry, std::uint64_t where,
                                 const Refuse& refuse) const {
  const auto flags = at<std::uint16_t>(entry, 8), method = at<std::uint16_t>(entry, 10);
  const auto name_nbytes = at<std::uint16_t>(entry, 28),
             extra_nbytes = at<std::uint16_t>(entry, 30);
  ZipMember member{entry.substr(kDirectoryEntryNbytes, name_nbytes),
                   at<std::uint32_t>(entry, 42),
                   at<std::uint32_t>(entry, 20),
                   at<std::uint32_t>(entry, 24),
                   0,
                   at<std::uint32_t>(entry, 16),
                   method == 8};
  const auto fail_member = [&](const std::string& what) {
    fail(where, label_of(member) + ": " + what);
  };
  take_zip64(member, entry.substr(kDirectoryEntryNbytes + name_nbytes, extra_nbytes), fail_member);
  if (flags & kEncrypted) refuse(label_of(member) + " is encrypted");
  if (method != 0 && method != 8)
    fail_member("compressed by method " + std::to_string(method) + ", known are 0 and 8");
  if (method == 0 && member.stored_nbytes != member.nbytes) {
    fail_member("stored in " + std::to_string(member.stored_nbytes) + " bytes, and has " +
                std::to_string(member.nbytes));
  }
  const std::uint64_t size = file_.nbytes();
  if (member.header_offset > size || size - member.header_offset < kLocalHeaderNbytes ||
      member.stored_nbytes > size - member.header_offset - kLocalHeaderNbytes) {
    fail_member(std::to_string(member.stored_nbytes) + " bytes at offset " +
                std::to_string(member.header_offset) + ", beyond the file's " +
                std::to_string(size));
  }
  return member;
}

// Under its name without the folder. Whether that has upper case.
template <class Refuse>
bool ZipArchive::add_name(std::uint32_t number, const Refuse& refuse) {
  const ZipMember& member = members_[number];
  const std::size_t slash = member.name.find('/');
  if (slash == std::string_view::npos) {
    refuse(label_of(member) + " lies in no folder, as those of PyTorch do");
    return false;
  }
  if (root_.empty()) root_ = member.name.substr(0, slash);
  if (member.name.substr(0, slash) != root_) {
    refuse(label_of(member) + " lies in another folder than \"" + root_ + "\"");
    return false;
  }
  const std::string_view name = member.name.substr(slash + 1);
  if (by_name_.find_or_add(std::hash<std::string_view>()(name), is_called(name), number)) {
    refuse(label_of(member) + " is there twice");
    return false;
  }
  return std::ranges::any_of(name, is_upper);
}

// PyTorch takes them for one another: miniz compares names without regard to case.
void ZipArchive::refuse_names_that_differ_in_case() const {
  constexpr std::string_view kKnown[] = {"data.pkl",  "version",       ".data/version",
                                         "byteorder", "constants.pkl", ".format_version"};
  std::set<std::string> seen;
  for (const ZipMember& member : members_) {
    std::string name(member.name);
    for (char& c : name) c = is_upper(c) ? static_cast<char>(c + 32) : c;
    const std::string_view in_folder = std::string_view(name).substr(name.find('/') + 1);
    if (std::ranges::find(kKnown, in_folder) != std::end(kKnown) &&
        member.name.substr(root_.size() + 1) != in_folder) {
      fail(member.header_offset, label_of(member) + " is \"" + std::string(in_folder) +
                                     "\" for PyTorch, which ignores case");
    }
    if (!seen.insert(name).second)
      fail(member.header_offset,
           label_of(member) + " is there twice, if case is ignored as PyTorch does");
  }
}

ZipLocalHeader ZipArchive::local_header(const ZipMember& member) const {
  const std::string header =
      read_text(file_, member.header_offset, member.data_offset - member.header_offset);
  const auto flags = at<std::uint16_t>(header, 6);
  const std::uint64_t name_nbytes = at<std::uint16_t>(header, 26);
  ZipLocalHeader local{header.substr(kLocalHeaderNbytes, name_nbytes),
                       at<std::uint16_t>(header, 8),
                       (flags & kEncrypted) != 0,
                       (flags & kHasDescriptor) == 0 && at<std::uint32_t>(header, 22) != kInZip64,
                       at<std::uint32_t>(header, 22),
                       at<std::uint32_t>(header, 18),
                       0};
  const std::uint64_t end = member.data_offset + member.stored_nbytes;
  if (!(flags & kHasDescriptor) || file_.nbytes() - end < 24) return local;
  // 16 bytes, or 24 with sizes of 64 bits; its signature may be missing.
  const std::string descriptor = read_text(file_, end, 24);
  const bool is_signed = at<std::uint32_t>(descriptor, 0) == kDescriptor;
  const bool is_long = is_signed && at<std::uint64_t>(descriptor, 8) == member.stored_nbytes &&
                       at<std::uint64_t>(descriptor, 16) == member.nbytes;
  local.descriptor_nbytes = !is_signed ? 12 : is_long ? 24 : 16;
  return local;
}

ZipMember* ZipArchive::find(std::string_view name) {
  const auto is_at = is_called(name);
  if (next_ < members_.size() && is_at(next_)) return &members_[next_++];
  const std::uint32_t* const found = by_name_.find(std::hash<std::string_view>()(name), is_at);
  if (!found) return nullptr;
  if (!odd_) next_ = *found + 1;
  return &members_[*found];
}

void ZipArchive::find_data(std::vector<ZipMember*> members) {
  if (!std::ranges::is_sorted(members, {}, &ZipMember::header_offset))
    std::ranges::sort(members, {}, &ZipMember::header_offset);
  // Where headers stand close together one read fetches many; else each is read alone, and no data with it.
  constexpr std::uint64_t kWindow = 64 << 10, kClose = 2048;
  std::string window;
  std::uint64_t window_offset = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    ZipMember& member = *members[i];
    const std::uint64_t offset = member.header_offset;
    const auto label = [&] { return label_of(member); };
    const std::uint64_t header_nbytes = kLocalHeaderNbytes + member.name.size();
    if (header_nbytes > file_.nbytes() - offset)
      fail(offset, label() + ": the file ends in its local header");
    if (offset < window_offset || offset + header_nbytes > window_offset + window.size()) {
      const bool close = i + 1 < members.size() && members[i + 1]->header_offset - offset < kClose;
      window = read_text(file_, offset,
                         close ? std::min(kWindow, file_.nbytes() - offset) : header_nbytes);
      window_offset = offset;
    }
    const std::string_view header = std::string_view(window).substr(offset - window_offset);
    if (i > 0 && members[i - 1]->data_offset + members[i - 1]->stored_nbytes > offset)
      fail(offset, label() + " begins inside of " + label_of(*members[i - 1]));
    if (at<std::uint32_t>(header, 0) != kLocalHeader)
      fail(offset, label() + " has no local header where the directory says");
    const std::string_view local_name =
        header.substr(kLocalHeaderNbytes, at<std::uint16_t>(header, 26));
    if (!odd_ && local_name != member.name)
      fail(offset, label() + " is \"" + std::string(local_name) + "\" in its local header");
    member.data_offset =
        offset + kLocalHeaderNbytes + at<std::uint16_t>(header, 26) + at<std::uint16_t>(header, 28);
    if (member.data_offset > file_.nbytes() ||
        member.stored_nbytes > file_.nbytes() - member.data_offset) {
      fail(offset, label() + ": " + std::to_string(member.stored_nbytes) + " bytes from offset " +
                       std::to_string(member.data_offset) + " on, beyond the file's " +
                       std::to_string(file_.nbytes()));
    }
  }
}

bool ZipArchive::find_data_anyway(ZipMember& member) const {
  const std::string header = read_text(file_, member.header_offset, kLocalHeaderNbytes);
  const std::uint64_t name_nbytes = at<std::uint16_t>(header, 26);
  const std::uint64_t name_offset = member.header_offset + kLocalHeaderNbytes;
  member.data_offset = name_offset + name_nbytes + at<std::uint16_t>(header, 28);
  return at<std::uint32_t>(header, 0) == kLocalHeader && name_nbytes == member.name.size() &&
         name_nbytes <= file_.nbytes() - name_offset &&
         read_text(file_, name_offset, name_nbytes) == member.name;
}

std::string ZipArchive::read(ZipMember& member, std::uint64_t max_nbytes) {
  const std::string label = label_of(member);
  if (member.nbytes > max_nbytes) {
    fail(member.header_offset, label + " of " + std::to_string(member.nbytes) + " bytes, at most " +
                                   std::to_string(max_nbytes) + " are read");
  }
  if (!member.data_offset) find_data({&member});
  return read_member(file_, member);
}

std::string read_member(const File& file, const ZipMember& member) {
  const auto fail = [&](std::uint64_t offset, const std::string& what) {
    throw FormatError(file.name + ": offset " + std::to_string(offset) + ": " +
                      label_of(member) + " " + what);
  };
  std::string stored = read_text(file, member.data_offset, member.stored_nbytes);
  if (!member.deflated) return stored;
  // Deflate makes at most 1032 bytes of one: a claim beyond that is false.
  if (member.nbytes / 1040 > member.stored_nbytes)
    fail(member.header_offset, "claims to inflate to more than is possible");
  // The values of models inflate to five times their size.
  if (member.nbytes > kMostInflated && member.nbytes / kMostRatio > member.stored_nbytes) {
    fail(member.header_offset, "of " + std::to_string(member.stored_nbytes) +
                                   " bytes inflates to " + std::to_string(member.nbytes) +
                                   ", which nothing but a trap for memory does");
  }
  std::string inflated(member.nbytes, '\0');
  const std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> inflate(
      libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
  if (!inflate)
    throw IoError(file.name + ": no memory to inflate " + label_of(member), ENOMEM);
  if (libdeflate_deflate_decompress(inflate.get(), stored.data(), stored.size(), inflated.data(),
                                    inflated.size(), nullptr) != LIBDEFLATE_SUCCESS) {
    fail(member.data_offset,
         "is damaged: it does not inflate to its " + std::to_string(member.nbytes) + " bytes");
  }
  return inflated;
}

// In the local header uncompressed, then compressed size, then the offset; each only if it does not fit in 32 bits.
std::string ZipLayout::local_zip64(const Member& member) const {
  std::string field;
  if (member.nbytes >= kInZip64) put(field, member.nbytes), put(field, member.nbytes);
  if (member.header_offset >= kInZip64) put(field, member.header_offset);
  if (field.empty()) return field;
  std::string whole;
  put(whole, std::uint16_t{1});
  put(whole, static_cast<std::uint16_t>(field.size()));
  return whole + field;
}

std::size_t ZipLayout::add(std::string name, std::uint64_t nbytes) {
  Member member{std::move(name), nbytes, next_, 0};
  const std::uint64_t before =
      next_ + kLocalHeaderNbytes + member.name.size() + local_zip64(member).size() + 4;
  member.data_offset = round_up(before, alignment_);
  const std::uint64_t descriptor_nbytes = nbytes == 0 ? 0 : local_zip64(member).empty() ? 16 : 24;
  next_ = member.data_offset + nbytes + descriptor_nbytes;
  members_.push_back(std::move(member));
  return members_.size() - 1;
}

std::string ZipLayout::header(std::size_t number) const {
  const Member& member = members_[number];
  const std::string zip64 = local_zip64(member);
  const std::uint64_t padding = member.data_offset - member.header_offset - kLocalHeaderNbytes -
                                member.name.size() - zip64.size() - 4;
  std::string out;
  put(out, kLocalHeader);
  put(out, std::uint16_t{0});  // version needed
  put(out, static_cast<std::uint16_t>(member.nbytes ? kUtf8 | kHasDescriptor : kUtf8));
  out.append(2 + 2 + 2 + 4 + 4 + 4,
             '\0');  // stored, no time, no date; CRC and sizes follow the data
  if (member.nbytes >= kInZip64) out.replace(out.size() - 8, 8, std::string(8, '\xFF'));
  put(out, static_cast<std::uint16_t>(member.name.size()));
  put(out, static_cast<std::uint16_t>(zip64.size() + 4 + padding));
  out += member.name + zip64;
  put(out, kPaddingId);
  put(out, static_cast<std::uint16_t>(padding));
  return out.append(padding, 'Z');
}

std::string ZipLayout::descriptor(std::size_t number, std::uint32_t crc32) const {
  const Member& member = members_[number];
  std::string out;
  if (member.nbytes == 0) return out;
  put(out, kDescriptor);
  put(out, crc32);
  if (local_zip64(member).empty()) {
    put(out, static_cast<std::uint32_t>(member.nbytes));
    put(out, static_cast<std::uint32_t>(member.nbytes));
  } else {
    put(out, member.nbytes);
    put(out, member.nbytes);
  }
  return out;
}

std::string ZipLayout::directory(const std::vector<std::uint32_t>& crc32) const {
  std::string out;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    const std::string zip64 = local_zip64(member);
    put(out, kDirectoryEntry);
    put(out, std::uint16_t{0});  // made by
    put(out, std::uint16_t{0});  // version needed
    put(out, static_cast<std::uint16_t>(member.nbytes ? kUtf8 | kHasDescriptor : kUtf8));
    out.append(2 + 2 + 2, '\0');  // stored, no time, no date
    put(out, crc32[i]);
    put(out, clipped(member.nbytes));
    put(out, clipped(member.nbytes));
    put(out, static_cast<std::uint16_t>(member.name.size()));
    put(out, static_cast<std::uint16_t>(zip64.size()));
    out.append(2 + 2 + 2 + 4, '\0');  // comment, disk, attributes
    put(out, clipped(member.header_offset));
    out += member.name + zip64;
  }
  const std::uint64_t nbytes = out.size(), count = members_.size(), end64 = next_ + nbytes;
  put(out, kEnd64);
  put(out, std::uint64_t{kEnd64Nbytes - 12});
  put(out, std::uint16_t{0x031E});
  put(out, std::uint16_t{0x2D});
  put(out, std::uint32_t{0});
  put(out, std::uint32_t{0});
  put(out, count);
  put(out, count);
  put(out, nbytes);
  put(out, next_);
  put(out, kLocator64);
  put(out, std::uint32_t{0});
  put(out, end64);
  put(out, std::uint32_t{1});
  put(out, kEnd);
  put(out, std::uint32_t{0});
  const auto few = static_cast<std::uint16_t>(std::min<std::uint64_t>(count, 0xFFFF));
  put(out, few);
  put(out, few);
  put(out, clipped(nbytes));
  put(out, clipped(next_));
  put(out, std::uint16_t{0});
  return out;
}

}  // namespace transload
