#include "archive/zip_recover.h"

#include <cstring>

#include "transload/error.h"

namespace transload {
namespace {

constexpr std::uint64_t kWindow = 16 << 20;
constexpr std::uint64_t kLeastSearched = 1 << 30, kMostSearches = 4;
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

ZipSearch::ZipSearch(const File& file, std::uint64_t nbytes, const LengthFunction& length_of)
    : file_(file) {
  // That of the first member: what looks like a header in a tensor's bytes has another.
  std::string folder;
  for (std::uint64_t begin = 0; begin < std::min(nbytes, file.nbytes());) {
    const std::string window = read_text(
        file, begin, std::min(kWindow + kHeaderNbytes + kMaxNameNbytes, file.nbytes() - begin));
    std::uint64_t next = begin + kWindow;  // where the next window begins: behind what was found
    for (std::size_t here = window.find(kSignature); here < kWindow && here != std::string::npos;) {
      if (window.size() - here < kHeaderNbytes) break;
      const std::uint64_t name_nbytes = at<std::uint16_t>(window, here + 26);
      const bool is_there =
          name_nbytes <= kMaxNameNbytes && window.size() - here - kHeaderNbytes >= name_nbytes;
      const std::string_view name =
          std::string_view(window).substr(here + kHeaderNbytes, is_there ? name_nbytes : 0);
      const std::uint64_t name_end = begin + here + kHeaderNbytes + name_nbytes;
      const std::uint64_t data_offset = name_end + at<std::uint16_t>(window, here + 28);
      std::uint64_t from = begin + here + 1;
      if (name.find('/') != std::string_view::npos && name.starts_with(folder) &&
          data_offset <= file.nbytes()) {
        if (folder.empty()) folder = name.substr(0, name.find('/') + 1);
        headers_.push_back(
            {std::string(name), begin + here, data_offset, at<std::uint16_t>(window, here + 6),
             at<std::uint16_t>(window, here + 8), at<std::uint32_t>(window, here + 14),
             at<std::uint32_t>(window, here + 18), at<std::uint32_t>(window, here + 22)});
        const std::string in_folder(name.substr(folder.size()));
        by_name_.try_emplace(in_folder, &headers_.back());
        // Headers do not overlap, and what looks like one in the bytes of a storage is none.
        from = name_end;
        if (const auto length = length_of ? length_of(in_folder) : std::nullopt;
            length && headers_.back().method == 0 && *length <= file.nbytes() - data_offset)
          from = data_offset + *length;
      }
      next = std::max(next, from);
      if (from >= begin + kWindow) break;
      here = window.find(kSignature, from - begin);
    }
    begin = next;
  }
}

std::optional<ZipMember> ZipSearch::deflated(const Header& header) {
  if (header.method != 8) return std::nullopt;
  ZipMember member{header.name,   header.offset,      header.stored_nbytes,
                   header.nbytes, header.data_offset, header.crc32,
                   true};
  if (!(header.flags & kHasDescriptor)) {
    const bool is_there = member.stored_nbytes <= file_.nbytes() - member.data_offset;
    return is_there ? std::optional(member) : std::nullopt;
  }
  // The descriptor says how long the data before it is: that is how it is told from data that looks like one. Where many
  // have none the search for each would go to the end of the file.
  for (std::uint64_t begin = member.data_offset; begin < file_.nbytes(); begin += kWindow) {
    const std::uint64_t nbytes = std::min(kWindow + kDescriptorNbytes, file_.nbytes() - begin);
    searched_nbytes_ += nbytes;
    if (searched_nbytes_ > kLeastSearched + kMostSearches * file_.nbytes()) return std::nullopt;
    const std::string window = read_text(file_, begin, nbytes);
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
  if (nbytes > file_.nbytes() - header.data_offset) {
    why_not = "the file ends after " + std::to_string(file_.nbytes() - header.data_offset) +
              " of its " + std::to_string(nbytes) + " bytes";
    return nullptr;
  }
  std::uint32_t crc32 = header.crc32;
  if ((header.flags & kHasDescriptor) && nbytes) {
    // Where the file ends inside of the descriptor there is no checksum, but all of the bytes.
    const std::string descriptor =
        read_text(file_, end, std::min<std::uint64_t>(8, file_.nbytes() - end));
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

std::string ZipSearch::text(const std::string& name, std::uint64_t most_nbytes) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return "";
  if (found->second->method != 0) {
    const std::optional<ZipMember> member = deflated(*found->second);
    return member && member->nbytes <= most_nbytes ? read_member(file_, *member) : "";
  }
  std::uint64_t end = file_.nbytes();
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
