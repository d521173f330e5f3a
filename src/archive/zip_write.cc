#include "archive/zip_write.h"

#include <algorithm>

#include "archive/zip_records.h"
#include "types/checked.h"

namespace transload {
namespace {

// 0x4246, "FB": caffe2/serialize/inline_container.cc, getPadding.
constexpr std::uint16_t kPaddingId = 0x4246;

std::uint32_t clipped(std::uint64_t value) {
  return value >= zip::kInZip64 ? zip::kInZip64 : static_cast<std::uint32_t>(value);
}

std::uint16_t flags(std::uint64_t nbytes) {
  return static_cast<std::uint16_t>(nbytes ? zip::kUtf8 | zip::kHasDescriptor : zip::kUtf8);
}

}  // namespace

// The zip64 field of a local header: uncompressed size, compressed size, offset; each only if it does not fit in 32 bits.
std::string ZipLayout::local_zip64(const Member& member) const {
  std::string field;
  if (member.nbytes >= zip::kInZip64)
    zip::put(field, member.nbytes), zip::put(field, member.nbytes);
  if (member.header_offset >= zip::kInZip64) zip::put(field, member.header_offset);
  if (field.empty()) return field;
  std::string whole;
  zip::put(whole, std::uint16_t{1});
  zip::put(whole, static_cast<std::uint16_t>(field.size()));
  return whole + field;
}

std::size_t ZipLayout::add(std::string name, std::uint64_t nbytes) {
  Member member{std::move(name), nbytes, next_, 0};
  const std::uint64_t before =
      next_ + zip::kLocalHeaderNbytes + member.name.size() + local_zip64(member).size() + 4;
  member.data_offset = round_up(before, alignment_);
  const std::uint64_t descriptor_nbytes = nbytes == 0 ? 0 : local_zip64(member).empty() ? 16 : 24;
  next_ = member.data_offset + nbytes + descriptor_nbytes;
  members_.push_back(std::move(member));
  return members_.size() - 1;
}

std::string ZipLayout::header(std::size_t number) const {
  const Member& member = members_[number];
  const std::string zip64 = local_zip64(member);
  const std::uint64_t padding = member.data_offset - member.header_offset -
                                zip::kLocalHeaderNbytes - member.name.size() - zip64.size() - 4;
  std::string out;
  zip::put(out, zip::kLocalHeader);
  zip::put(out, std::uint16_t{0});  // version needed
  zip::put(out, flags(member.nbytes));
  out.append(2 + 2 + 2 + 4 + 4 + 4,
             '\0');  // stored, no time, no date; CRC and sizes follow the data
  if (member.nbytes >= zip::kInZip64) out.replace(out.size() - 8, 8, std::string(8, '\xFF'));
  zip::put(out, static_cast<std::uint16_t>(member.name.size()));
  zip::put(out, static_cast<std::uint16_t>(zip64.size() + 4 + padding));
  out += member.name + zip64;
  zip::put(out, kPaddingId);
  zip::put(out, static_cast<std::uint16_t>(padding));
  return out.append(padding, 'Z');
}

std::string ZipLayout::descriptor(std::size_t number, std::uint32_t crc32) const {
  const Member& member = members_[number];
  std::string out;
  if (member.nbytes == 0) return out;
  zip::put(out, zip::kDescriptor);
  zip::put(out, crc32);
  if (local_zip64(member).empty()) {
    zip::put(out, static_cast<std::uint32_t>(member.nbytes));
    zip::put(out, static_cast<std::uint32_t>(member.nbytes));
  } else {
    zip::put(out, member.nbytes);
    zip::put(out, member.nbytes);
  }
  return out;
}

std::string ZipLayout::directory_entry(const Member& member, std::uint32_t crc32) const {
  const std::string zip64 = local_zip64(member);
  std::string out;
  zip::put(out, zip::kDirectoryEntry);
  zip::put(out, std::uint16_t{0});  // made by
  zip::put(out, std::uint16_t{0});  // version needed
  zip::put(out, flags(member.nbytes));
  out.append(2 + 2 + 2, '\0');  // stored, no time, no date
  zip::put(out, crc32);
  zip::put(out, clipped(member.nbytes));
  zip::put(out, clipped(member.nbytes));
  zip::put(out, static_cast<std::uint16_t>(member.name.size()));
  zip::put(out, static_cast<std::uint16_t>(zip64.size()));
  out.append(2 + 2 + 2 + 4, '\0');  // comment, disk, attributes
  zip::put(out, clipped(member.header_offset));
  return out + member.name + zip64;
}

// Always both end records, as PyTorch writes them.
std::string ZipLayout::end_records(std::uint64_t directory_nbytes) const {
  const std::uint64_t count = members_.size(), end64 = next_ + directory_nbytes;
  std::string out;
  zip::put(out, zip::kEnd64);
  zip::put(out, std::uint64_t{zip::kEnd64Nbytes - 12});  // of the rest of the record
  zip::put(out, std::uint16_t{0x031E});                  // made by, as miniz writes it
  zip::put(out, std::uint16_t{0x2D});                    // version needed: 4.5, zip64
  zip::put(out, std::uint32_t{0});                       // this disk
  zip::put(out, std::uint32_t{0});                       // disk of the directory
  zip::put(out, count);
  zip::put(out, count);
  zip::put(out, directory_nbytes);
  zip::put(out, next_);
  zip::put(out, zip::kLocator64);
  zip::put(out, std::uint32_t{0});
  zip::put(out, end64);
  zip::put(out, std::uint32_t{1});  // disks in all
  zip::put(out, zip::kEnd);
  zip::put(out, std::uint32_t{0});
  const auto few = static_cast<std::uint16_t>(std::min<std::uint64_t>(count, 0xFFFF));
  zip::put(out, few);
  zip::put(out, few);
  zip::put(out, clipped(directory_nbytes));
  zip::put(out, clipped(next_));
  zip::put(out, std::uint16_t{0});  // no comment
  return out;
}

std::string ZipLayout::directory(const std::vector<std::uint32_t>& crc32) const {
  std::string out;
  for (std::size_t i = 0; i < members_.size(); ++i) out += directory_entry(members_[i], crc32[i]);
  return out + end_records(out.size());
}

}  // namespace transload
