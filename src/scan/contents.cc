#include "scan/contents.h"

#include <algorithm>
#include <cstring>

#include "archive/decompress.h"
#include "archive/tar.h"
#include "archive/zip_records.h"
#include "io/file.h"
#include "scan/archives.h"

namespace transload {
namespace {

constexpr std::uint64_t kMaxPickleNbytes = 1ull
                                           << 30;  // what lies behind is not looked at: "broken"
constexpr std::uint64_t kProbeNbytes = 64 << 10;
constexpr std::uint64_t kHeadNbytes = 1024;
constexpr std::string_view kNumpyMagic = "\x93NUMPY";
constexpr int kMostDepth = 4;
// torch/serialization.py, _legacy_load: magic number, protocol, system, values, keys.
constexpr int kLegacyPickles = 5;
constexpr std::string_view kLegacyMagic = "\x8A\x0A\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19\x2E";

PickleScan scan_from(std::string_view bytes, std::size_t at, const std::string& member) {
  return scan_pickle(std::as_bytes(std::span(bytes.substr(at))), member);
}

std::string read_all(const File& file) {
  return read_text(file, 0, std::min(file.nbytes(), kMaxPickleNbytes));
}

// As much of a file as can be read as pickles: for other bytes a few, however large the file is.
std::string read_enough(const File& file) {
  std::string begin = read_text(file, 0, std::min(file.nbytes(), kProbeNbytes));
  std::size_t at = 0;
  for (int i = 0; i < kLegacyPickles && at < begin.size(); ++i) {
    const PickleScan found = scan_from(begin, at, "");
    at += found.nbytes;
    if (!found.broken.empty() && at < begin.size()) return begin;
  }
  return at < begin.size() ? begin : read_all(file);
}

// How many pickles a loader takes from one stream.
enum class Take : std::uint8_t { one, five, as_many_as_there_are };

// Judges pickles one after the other. Where nothing says that the bytes are pickles, those that break count only if they do
// harm before they break. Returns where the pickles end.
std::size_t judge_pickles(std::string_view bytes, const Part& part, std::size_t begin, Take take,
                          Report& report) {
  std::size_t at = begin;
  const int most = take == Take::one ? 1 : take == Take::five ? kLegacyPickles : 1 << 20;
  for (int i = 0; i < most && at < bytes.size(); ++i) {
    const PickleScan found = scan_from(bytes, at, part.member);
    const bool is_said_to_be = bytes[at] == '\x80' || take != Take::as_many_as_there_are;
    const bool counts = is_said_to_be || found.gave_up || does_harm(found.uses);
    if (!found.broken.empty() && !counts) return at;
    report.add(found, at);
    at += found.nbytes;
    if (report.is_full()) {
      report.add_broken(part.offset + at, part.label() + "uses more names than a model does");
      return bytes.size();
    }
    if (found.broken.empty()) continue;
    report.add_broken(part.offset + at, part.label() + found.broken);
    return bytes.size();
  }
  if (at < bytes.size() && take == Take::as_many_as_there_are)
    report.add_broken(part.offset + at, part.label() + "more pickles than are looked at");
  return at;
}

// What follows a pickle, where loaders read nothing.
void judge_behind(std::string_view bytes, const Part& part, std::size_t end, Report& report) {
  const std::string_view behind = bytes.substr(end);
  if (behind.find_first_not_of('\0') == std::string_view::npos) return;
  report.add_finding(true, part.offset + end,
                     part.label() + std::to_string(behind.size()) +
                         " bytes behind the pickle's end, which loaders do not read");
  judge_pickles(bytes, part, end, Take::as_many_as_there_are, report);
}

// As a program does that unpickles every file it is given.
void judge_as_pickle(const Part& part, Report& report) {
  const std::string bytes = read_enough(part.file);
  std::vector<std::pair<PickleScan, std::size_t>> found;
  bool is_harmful = false;
  for (std::size_t at = 0, i = 0; i < kLegacyPickles && at < bytes.size(); ++i) {
    found.emplace_back(scan_from(bytes, at, part.member), at);
    const PickleScan& last = found.back().first;
    is_harmful = is_harmful || does_harm(last.uses) || last.gave_up;
    at += last.nbytes;
    if (!last.broken.empty()) break;
  }
  if (!is_harmful) return;
  for (const auto& [pickle, at] : found) report.add(pickle, at);
  report.add_finding(
      true, part.offset,
      part.label() + "what begins here is a pickle too, which does what is listed above");
}

// Whether the header of an array has a dtype with objects: '|O', 'O', '<O8', 'f8,O', [('a', '|O')], with escapes.
bool names_objects(std::string_view header) {
  if (header.find('\\') != header.npos || header.find("object") != header.npos) return true;
  for (std::size_t at = header.find('O'); at != header.npos; at = header.find('O', at + 1)) {
    const char before = at > 0 ? header[at - 1] : ' ';
    const bool begins = std::string_view("'\"<>|=,) 0123456789").find(before) != header.npos;
    const std::size_t end = header.find_first_not_of("0123456789", at + 1);
    const bool ends =
        end == header.npos || std::string_view("'\", ").find(header[end]) != header.npos;
    if (begins && ends) return true;
  }
  return false;
}

bool may_be_pickle(std::string_view bytes, const std::string& member) {
  const PickleScan first = scan_from(bytes, 0, member);
  return first.broken.empty() || first.gave_up || does_harm(first.uses) ||
         bytes.starts_with("\x80");
}

// Of compressed bytes, whether what they begin with is of a kind that is looked at further.
bool is_searched(std::string_view head, const std::string& member) {
  if (head.starts_with("PK") || head.starts_with(kNumpyMagic) || is_tar(head)) return true;
  const Compression inner = compression_of(head);
  const PickleScan first = scan_from(head, 0, member);
  return (inner != Compression::none && !may_be_text(inner)) || first.nbytes == head.size() ||
         may_be_pickle(head, member);
}

bool is_text(std::string_view head) {
  return std::ranges::all_of(head, [](char c) {
    return static_cast<unsigned char>(c) >= ' ' || c == '\n' || c == '\r' || c == '\t';
  });
}

}  // namespace

void judge_contents(const Part& part, Report& report) {
  if (part.depth > kMostDepth)
    return report.add_finding(true, part.offset, part.label() + "archives nested too deep");
  const std::string head = read_text(part.file, 0, std::min(part.file.nbytes(), kHeadNbytes));
  if (judge_compressed(part, head, report)) return;
  if (head.starts_with(zip::kLocalSignature) || head.starts_with(zip::kEndSignature)) {
    judge_archives(part, report);
    return judge_polyglot(part, Judged::archive, report);
  }
  if (head.starts_with(kNumpyMagic)) {
    judge_array(part, report);
    return judge_polyglot(part, Judged::array, report);
  }
  if (is_tar(head)) {
    judge_tar(part, report);
    return judge_polyglot(part, Judged::tar, report);
  }
  const std::string bytes = read_enough(part.file);
  if (may_be_pickle(bytes, part.member))
    judge_pickles(bytes, part, 0, Take::as_many_as_there_are, report);
  judge_polyglot(part, Judged::pickle, report);
}

bool judge_compressed(const Part& part, std::string_view head, Report& report) {
  const Compression compression = compression_of(head);
  if (compression == Compression::none) return false;
  const std::string kind(name(compression));
  if (!can_decompress(compression)) {
    // Three letters of prose are not an archive.
    if (may_be_text(compression) && is_text(head)) return false;
    report.add_broken(part.offset, part.label() + kind + ": could not be looked into");
    return true;
  }
  Decompressed found = decompress(part.file, compression, kProbeNbytes);
  if (found.bytes.empty() && may_be_text(compression)) return false;
  const std::string member = part.member.empty() ? kind : part.member + "/" + kind;
  // Loaders tell what is inside by its first bytes.
  const bool is_cut = !found.is_whole && found.error.empty();
  if (is_cut && is_searched(found.bytes, member)) {
    constexpr std::uint64_t kLeast = 16 << 20, kMostRatio = 20;
    const std::uint64_t most =
        std::min(kMaxPickleNbytes, std::max(kLeast, kMostRatio * part.file.nbytes()));
    if (report.take(most)) found = decompress(part.file, compression, most);
    if (!found.is_whole && found.error.empty()) found.error = kind + " with more than is looked at";
  }
  if (!found.error.empty()) report.add_broken(part.offset, part.label() + found.error);
  judge_contents(
      {file_in_memory(part.file.name, std::move(found.bytes)), member, part.offset, part.depth + 1},
      report);
  return true;
}

void judge_pickle(const Part& part, Report& report) {
  const std::string bytes = read_all(part.file);
  if (bytes.empty())
    return report.add_broken(part.offset, part.label() + "the pickle has no bytes");
  const std::size_t end = judge_pickles(bytes, part, 0, Take::one, report);
  judge_behind(bytes, part, end, report);
}

void judge_leftover(const Part& part, Report& report) {
  judge_pickles(read_all(part.file), part, 0, Take::as_many_as_there_are, report);
}

std::string judge_stream(const Part& part, Report& report) {
  const std::string bytes = read_enough(part.file);
  const bool is_legacy = bytes.find(kLegacyMagic) < 16;
  const std::size_t end =
      judge_pickles(bytes, part, 0, is_legacy ? Take::five : Take::as_many_as_there_are, report);
  const bool is_pickle = bytes.starts_with("\x80") || (end > 0 && !report.is_broken()) ||
                         does_harm(report.uses()) || !report.uses().empty();
  if (!is_pickle) {
    report.clear();
    return "unknown";
  }
  if (is_legacy) return "legacy stream";  // storages follow
  judge_behind(bytes, part, end, report);
  return "pickle";
}

void judge_polyglot(const Part& part, Judged as, Report& report) {
  const std::string head = read_text(part.file, 0, std::min(part.file.nbytes(), kHeadNbytes));
  if (as != Judged::archive) judge_last_archive(part, report);
  if (as != Judged::tar && is_tar(head)) {
    report.add_finding(true, part.offset, part.label() + "what begins here is a tar too");
    judge_tar(part, report);
  }
  // A zip archive begins with the opcode of a persistent id that is a text, which loaders refuse.
  if (as != Judged::pickle && as != Judged::archive) judge_as_pickle(part, report);
}

bool is_array(const File& file, std::uint64_t offset) {
  const std::uint64_t left = file.nbytes() - std::min(offset, file.nbytes());
  return left >= kNumpyMagic.size() && read_text(file, offset, kNumpyMagic.size()) == kNumpyMagic;
}

// Source: numpy/lib/_format_impl.py.
void judge_array(const Part& part, Report& report) {
  constexpr std::uint64_t kMostHeader = 1 << 20;
  const std::string head = read_text(part.file, 0, std::min(part.file.nbytes(), kMostHeader));
  const bool is_long = head.size() > 6 && head[6] != '\1';
  std::uint32_t header_nbytes = 0;
  if (head.size() >= 12) std::memcpy(&header_nbytes, head.data() + 8, is_long ? 4 : 2);
  const std::uint64_t data = (is_long ? 12 : 10) + std::uint64_t{header_nbytes};
  if (data > part.file.nbytes())
    return report.add_broken(part.offset, part.label() + "the array is truncated");
  if (data > head.size())
    return report.add_broken(part.offset, part.label() + "the array's header is too long");
  const Part elements{part_of(part.file, data, part.file.nbytes() - data, part.file.name),
                      part.member, part.offset + data, part.depth};
  const std::string bytes = read_enough(elements.file);
  if (names_objects(std::string_view(head).substr(0, data))) {
    const std::size_t end = judge_pickles(bytes, elements, 0, Take::one, report);
    return judge_behind(bytes, elements, end, report);
  }
  // Whatever the header says, another reader may see objects in it.
  const PickleScan found = scan_from(bytes, 0, part.member);
  if (!does_harm(found.uses) && !found.gave_up) return;
  report.add(found, data);
  if (found.gave_up) report.add_broken(elements.offset, part.label() + found.broken);
}

}  // namespace transload
