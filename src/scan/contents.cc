#include "scan/contents.h"

#include <algorithm>
#include <cstring>

#include "archive/zip_records.h"
#include "io/file.h"
#include "scan/archives.h"

namespace transload {
namespace {

constexpr std::uint64_t kMaxPickleNbytes = 1ull
                                           << 30;  // what lies behind is not looked at: "broken"
constexpr std::uint64_t kProbeNbytes = 64 << 10;
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
    if (!found.broken.empty() && !is_said_to_be && !does_harm(found.uses)) return at;
    report.add(found, at);
    if (report.is_full()) return bytes.size();
    at += found.nbytes;
    if (found.broken.empty()) continue;
    report.add_broken(part.offset + at, part.label() + found.broken);
    return bytes.size();
  }
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

}  // namespace

void judge_contents(const Part& part, Report& report) {
  if (part.depth > kMostDepth)
    return report.add_finding(true, part.offset, part.label() + "archives nested too deep");
  const std::string head = read_text(part.file, 0, std::min<std::uint64_t>(part.file.nbytes(), 8));
  if (head.starts_with(zip::kLocalSignature) || head.starts_with(zip::kEndSignature)) {
    judge_archives(part, report);
    return;
  }
  if (head.starts_with("\x93NUMPY")) return judge_array(part, report);
  const std::string bytes = read_enough(part.file);
  const PickleScan first = scan_from(bytes, 0, part.member);
  if (first.broken.empty() || does_harm(first.uses) || bytes.starts_with("\x80"))
    judge_pickles(bytes, part, 0, Take::as_many_as_there_are, report);
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
  const std::string bytes = read_all(part.file);
  const bool is_legacy = bytes.find(kLegacyMagic) < 16;
  const std::size_t end =
      judge_pickles(bytes, part, 0, is_legacy ? Take::five : Take::as_many_as_there_are, report);
  const bool is_pickle =
      bytes.starts_with("\x80") || (end > 0 && !report.is_broken()) || does_harm(report.uses());
  if (!is_pickle) {
    report.clear();
    return "unknown";
  }
  if (is_legacy) return "legacy stream";  // storages follow
  judge_behind(bytes, part, end, report);
  return "pickle";
}

void judge_polyglot(const Part& part, Report& report) {
  const std::string bytes = read_enough(part.file);
  std::vector<std::pair<PickleScan, std::size_t>> found;
  bool harmful = false;
  for (std::size_t at = 0, i = 0; i < kLegacyPickles && at < bytes.size(); ++i) {
    found.emplace_back(scan_from(bytes, at, part.member), at);
    const PickleScan& last = found.back().first;
    harmful = harmful || does_harm(last.uses);
    at += last.nbytes;
    if (!last.broken.empty()) break;
  }
  if (!harmful) return;
  for (const auto& [pickle, at] : found) report.add(pickle, at);
  report.add_finding(true, part.offset,
                     "the file is also a pickle, which does what is listed above");
}

// Source: numpy/lib/_format_impl.py.
void judge_array(const Part& part, Report& report) {
  constexpr std::uint64_t kMostHeader = 1 << 16;
  const std::string head = read_text(part.file, 0, std::min(part.file.nbytes(), kMostHeader));
  const bool is_long = head.size() > 6 && head[6] != '\1';
  std::uint32_t header_nbytes = 0;
  if (head.size() >= 12) std::memcpy(&header_nbytes, head.data() + 8, is_long ? 4 : 2);
  const std::uint64_t data = (is_long ? 12 : 10) + std::uint64_t{header_nbytes};
  if (data > part.file.nbytes())
    return report.add_broken(part.offset, part.label() + "the array is truncated");
  // A header can say in many ways that the array is one of objects: what follows is looked at whatever it says.
  const Part elements{part_of(part.file, data, part.file.nbytes() - data, part.file.name),
                      part.member, part.offset + data, part.depth};
  const std::string bytes = read_enough(elements.file);
  const bool is_of_objects =
      std::string_view(head).substr(0, data).find("'|O'") != std::string::npos;
  if (is_of_objects) {
    const std::size_t end = judge_pickles(bytes, elements, 0, Take::one, report);
    return judge_behind(bytes, elements, end, report);
  }
  const PickleScan found = scan_from(bytes, 0, part.member);
  if (does_harm(found.uses)) report.add(found, data);
}

}  // namespace transload
