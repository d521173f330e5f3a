#include "format/zip_search.h"

#include <cstring>

#include "transload/error.h"

namespace transload {
namespace {

constexpr std::uint64_t kWindow = 16 << 20;
constexpr std::uint64_t kHeaderNbytes = 30, kMaxNameNbytes = 4096;  // APPNOTE.TXT 4.3.7
constexpr std::uint64_t kDescriptorNbytes = 16;  // 4.3.9: signature, CRC, both sizes
constexpr std::uint16_t kHasDescriptor = 0x0008;
constexpr std::string_view kSignature = "PK\3\4", kDescriptor = "PK\7\10";

template <class Number>
Number at(std::string_view bytes, std::size_t offset) {
  Number value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

}  // namespace

ZipSearch::ZipSearch(const File& file, std::uint64_t nbytes) : file_(file) {
  std::string
      folder;  // that of the first member: what looks like a header in a tensor's bytes has another
  for (std::uint64_t begin = 0; begin < std::min(nbytes, file.nbytes); begin += kWindow) {
    const std::string window = read_text(
        file, begin, std::min(kWindow + kHeaderNbytes + kMaxNameNbytes, file.nbytes - begin));
    std::size_t behind = 0;  // the last one: headers do not overlap
    for (std::size_t here = window.find(kSignature); here < kWindow && here != std::string::npos;
         here = window.find(kSignature, std::max(here + 1, behind))) {
      if (window.size() - here < kHeaderNbytes) break;
      const std::uint64_t name_nbytes = at<std::uint16_t>(window, here + 26);
      if (name_nbytes > kMaxNameNbytes || window.size() - here - kHeaderNbytes < name_nbytes)
        continue;
      const std::string_view name =
          std::string_view(window).substr(here + kHeaderNbytes, name_nbytes);
      const std::size_t slash = name.find('/');
      if (slash == std::string_view::npos || !name.starts_with(folder)) continue;
      Header header{
          std::string(name),
          begin + here,
          begin + here + kHeaderNbytes + name_nbytes + at<std::uint16_t>(window, here + 28),
          at<std::uint16_t>(window, here + 6),
          at<std::uint16_t>(window, here + 8),
          at<std::uint32_t>(window, here + 14),
          at<std::uint32_t>(window, here + 18),
          at<std::uint32_t>(window, here + 22)};
      if (header.data_offset > file.nbytes) continue;
      if (folder.empty()) folder = name.substr(0, slash + 1);
      behind = here + kHeaderNbytes + name_nbytes;
      headers_.push_back(std::move(header));
      by_name_.try_emplace(headers_.back().name.substr(folder.size()), &headers_.back());
    }
  }
}

std::optional<ZipMember> ZipSearch::deflated(const Header& header) const {
  if (header.method != 8) return std::nullopt;
  ZipMember member{header.name,   header.offset,      header.stored_nbytes,
                   header.nbytes, header.data_offset, header.crc32,
                   true};
  if (!(header.flags & kHasDescriptor)) {
    const bool is_there = member.stored_nbytes <= file_.nbytes - member.data_offset;
    return is_there ? std::optional(member) : std::nullopt;
  }
  // The descriptor says how long the data before it is: that is how it is told from data that looks like one.
  for (std::uint64_t begin = member.data_offset; begin < file_.nbytes; begin += kWindow) {
    const std::string window =
        read_text(file_, begin, std::min(kWindow + kDescriptorNbytes, file_.nbytes - begin));
    for (std::size_t here = window.find(kDescriptor); here < kWindow && here != std::string::npos;
         here = window.find(kDescriptor, here + 1)) {
      if (window.size() - here < kDescriptorNbytes) break;
      member.stored_nbytes = begin + here - member.data_offset;
      if (at<std::uint32_t>(window, here + 8) != member.stored_nbytes) continue;
      member.crc32 = at<std::uint32_t>(window, here + 4);
      member.nbytes = at<std::uint32_t>(window, here + 12);
      return member;
    }
  }
  return std::nullopt;
}

ZipMember* ZipSearch::find(const std::string& name, std::uint64_t nbytes, std::string& why_not) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    why_not = "it is not in what there is of the file";
    return nullptr;
  }
  const Header& header = *found->second;
  if (header.method != 0) {
    const std::optional<ZipMember> member = deflated(header);
    if (!member) {
      why_not = "the file ends before its end, or it is compressed in a way that is not known";
      return nullptr;
    }
    if (member->nbytes != nbytes) {
      why_not = "it has " + std::to_string(member->nbytes) + " bytes, the pickle says " +
                std::to_string(nbytes);
      return nullptr;
    }
    found_.push_back(*member);
    return &found_.back();
  }
  const std::uint64_t end = header.data_offset + nbytes;
  if (nbytes > file_.nbytes - header.data_offset) {
    why_not = "the file ends after " + std::to_string(file_.nbytes - header.data_offset) +
              " of its " + std::to_string(nbytes) + " bytes";
    return nullptr;
  }
  std::uint32_t crc32 = header.crc32;
  if ((header.flags & kHasDescriptor) && nbytes) {
    // Where the file ends inside of the descriptor there is no checksum, but all of the bytes.
    const std::string descriptor =
        read_text(file_, end, std::min<std::uint64_t>(8, file_.nbytes - end));
    if (!kDescriptor.starts_with(std::string_view(descriptor).substr(0, 4))) {
      why_not = "what follows its bytes is not its end";
      return nullptr;
    }
    crc32 = descriptor.size() == 8 ? at<std::uint32_t>(descriptor, 4) : 0;
  } else if (header.nbytes != nbytes && header.nbytes != 0xFFFFFFFF) {
    why_not = "it has " + std::to_string(header.nbytes) + " bytes, the pickle says " +
              std::to_string(nbytes);
    return nullptr;
  }
  found_.push_back({header.name, header.offset, nbytes, nbytes, header.data_offset, crc32, false});
  return &found_.back();
}

std::string ZipSearch::text(const std::string& name, std::uint64_t most_nbytes) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return "";
  if (found->second->method != 0) {
    const std::optional<ZipMember> member = deflated(*found->second);
    return member && member->nbytes <= most_nbytes ? read_member(file_, *member) : "";
  }
  std::uint64_t end = file_.nbytes;
  for (const Header& header : headers_) {
    if (header.offset >= found->second->data_offset) {
      end = header.offset;
      break;
    }
  }
  return read_text(file_, found->second->data_offset,
                   std::min(most_nbytes, end - found->second->data_offset));
}

}  // namespace transload
