#include "archive/zip_recover.h"

#include <algorithm>

#include "io/file.h"

namespace transload {
namespace {

using zip::at;

constexpr std::uint64_t kWindow = 16 << 20;
constexpr std::uint64_t kLeastSearched = 1 << 30, kMostSearches = 4;  // for descriptors
constexpr std::uint64_t kMaxNameNbytes = 4096;
constexpr std::uint64_t kDescriptorNbytes = 16;  // signature, CRC, both sizes in 32 bits

std::string wrong_length(std::uint64_t nbytes, std::uint64_t expected) {
  return "it has " + std::to_string(nbytes) + " bytes, but the pickle says " +
         std::to_string(expected);
}

}  // namespace

ZipSearch::ZipSearch(const File& file, std::uint64_t nbytes, const LengthFunction& length_of)
    : file_(file) {
  for (std::uint64_t begin = 0; begin < std::min(nbytes, file.nbytes());) {
    const std::string window = read_text(
        file, begin,
        std::min(kWindow + zip::kLocalHeaderNbytes + kMaxNameNbytes, file.nbytes() - begin));
    std::uint64_t next = begin + kWindow;  // where the next window begins: behind what was found
    search_window(window, begin, next, length_of);
    begin = next;
  }
}

void ZipSearch::search_window(const std::string& window, std::uint64_t begin, std::uint64_t& next,
                              const LengthFunction& length_of) {
  for (std::size_t here = window.find(zip::kLocalSignature);
       here < kWindow && here != std::string::npos;) {
    if (window.size() - here < zip::kLocalHeaderNbytes) return;
    std::uint64_t from = begin + here + 1;
    const auto local = zip::decode_local_header(
        std::string_view(window).substr(here, zip::kLocalHeaderNbytes + kMaxNameNbytes));
    if (local && local->name.find('/') != std::string_view::npos &&
        local->name.starts_with(folder_) && begin + here + local->header_nbytes <= file_.nbytes()) {
      if (folder_.empty()) folder_ = local->name.substr(0, local->name.find('/') + 1);
      const std::uint64_t data_offset = begin + here + local->header_nbytes;
      headers_.push_back({std::string(local->name), begin + here, data_offset, *local});
      const std::string name(local->name.substr(folder_.size()));
      by_name_.try_emplace(name, &headers_.back());
      // Headers do not overlap, and what looks like one within a storage's bytes is not a header.
      from = begin + here + zip::kLocalHeaderNbytes + local->name.size();
      const auto length = length_of ? length_of(name) : std::nullopt;
      if (length && local->method == zip::kStored && *length <= file_.nbytes() - data_offset)
        from = data_offset + *length;
    }
    next = std::max(next, from);
    if (from >= begin + kWindow) return;
    here = window.find(zip::kLocalSignature, from - begin);
  }
}

// A deflated member as its local header states it, or else the descriptor behind its data; empty if neither does.
std::optional<Member> ZipSearch::deflated(const Header& header) {
  if (header.local.method != zip::kDeflated) return std::nullopt;
  Member member{
      header.name,         header.offset,      header.data_offset, header.local.stored_nbytes,
      header.local.nbytes, header.local.crc32, Encoding::deflated};
  if (!header.local.has_descriptor()) {
    const bool is_there = member.stored_nbytes <= file_.nbytes() - member.data_offset;
    return is_there ? std::optional(member) : std::nullopt;
  }
  // The descriptor states how long the data before it is: that tells it from data that looks like one. The search is
  // bounded, since for many members without a descriptor each would go to the end of the file.
  for (std::uint64_t begin = member.data_offset; begin < file_.nbytes(); begin += kWindow) {
    const std::uint64_t nbytes = std::min(kWindow + kDescriptorNbytes, file_.nbytes() - begin);
    searched_nbytes_ += nbytes;
    if (searched_nbytes_ > kLeastSearched + kMostSearches * file_.nbytes()) return std::nullopt;
    const std::string window = read_text(file_, begin, nbytes);
    for (std::size_t here = window.find(zip::kDescriptorSignature);
         here < kWindow && here != std::string::npos;
         here = window.find(zip::kDescriptorSignature, here + 1)) {
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

Member* ZipSearch::found(const Member& member) {
  found_.push_back(member);
  return &found_.back();
}

Member* ZipSearch::find(const std::string& name, std::uint64_t nbytes, std::string& why_not) {
  const auto at_name = by_name_.find(name);
  if (at_name == by_name_.end()) {
    why_not = "it is missing from the file";
    return nullptr;
  }
  const Header& header = *at_name->second;
  if (header.local.method == zip::kStored) return find_stored(header, nbytes, why_not);
  const std::optional<Member> member = deflated(header);
  if (!member)
    why_not = "the file ends before it does, or its compression method is not known";
  else if (member->nbytes != nbytes)
    why_not = wrong_length(member->nbytes, nbytes);
  else
    return found(*member);
  return nullptr;
}

Member* ZipSearch::find_stored(const Header& header, std::uint64_t nbytes, std::string& why_not) {
  const std::uint64_t there = file_.nbytes() - header.data_offset;
  if (nbytes > there) {
    why_not = "the file ends after " + std::to_string(there) + " of its " + std::to_string(nbytes) +
              " bytes";
    return nullptr;
  }
  std::uint32_t crc32 = header.local.crc32;
  if (header.local.has_descriptor() && nbytes) {
    // A file that ends within the descriptor has no checksum, but all of the bytes.
    const std::string descriptor =
        read_text(file_, header.data_offset + nbytes, std::min<std::uint64_t>(8, there - nbytes));
    if (!zip::kDescriptorSignature.starts_with(std::string_view(descriptor).substr(0, 4))) {
      why_not = "its bytes are not followed by a data descriptor";
      return nullptr;
    }
    crc32 = descriptor.size() == 8 ? at<std::uint32_t>(descriptor, 4) : 0;
  } else if (header.local.nbytes != nbytes && header.local.nbytes != zip::kInZip64) {
    why_not = wrong_length(header.local.nbytes, nbytes);
    return nullptr;
  }
  return found({header.name, header.offset, header.data_offset, nbytes, nbytes, crc32});
}

std::string ZipSearch::text(const std::string& name, std::uint64_t most_nbytes) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return "";
  const Header& header = *found->second;
  if (header.local.method != zip::kStored) {
    const std::optional<Member> member = deflated(header);
    return member && member->nbytes <= most_nbytes ? read_member(file_, *member) : "";
  }
  const auto next = std::ranges::find_if(
      headers_, [&](const Header& h) { return h.offset >= header.data_offset; });
  const std::uint64_t end = next == headers_.end() ? file_.nbytes() : next->offset;
  return read_text(file_, header.data_offset, std::min(most_nbytes, end - header.data_offset));
}

}  // namespace transload
