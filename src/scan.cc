// Scanning, top to bottom: the file ► its archive, with what is odd about it ► each pickle in it ► names ► a verdict.
//
// Nothing here believes a file: an archive that cannot be read is searched for local headers, a pickle that breaks off
// is judged by what came before.
#include "transload/scan.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <set>

#include "format/format.h"
#include "scan/pickle_scan.h"
#include "archive/zip_read.h"
#include "io/file.h"
#include "transload/error.h"

namespace transload {
namespace {

constexpr std::uint64_t kMaxPickleNbytes = 1ull << 30;
constexpr std::size_t kMaxFindings = 100, kMaxUses = 10'000;
constexpr std::uint64_t kLeastInflated = 256 << 20;
// torch/serialization.py, _legacy_load: magic, protocol, system, values, keys.
constexpr int kLegacyPickles = 5;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// Whether what was read as a pickle, and says nothing of itself, is one that does harm. Prose is none, though an "i" or "c"
// in it imports two lines: those of a pickle are names.
bool does_harm(const std::vector<PickleUse>& uses) {
  const auto in_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || std::strchr("_.()", c);
  };
  return std::ranges::any_of(uses, [&](const PickleUse& use) {
    const bool is_said_of_it = use.name.starts_with("a ") || use.name.starts_with("what was ");
    return use.verdict == Verdict::runs_code && use.how != PickleUse::How::extension &&
           (is_said_of_it || std::ranges::all_of(use.name, in_name));
  });
}

// Members that hold a program, by what their names end in.
constexpr std::string_view kPrograms[] = {".py",  ".pyc",   ".so", ".pyd",
                                          ".dll", ".dylib", ".sh", ".exe"};

// Where a part of a file begins in it.
std::uint64_t base_of(const File& file) { return file.source->descriptor().begin; }

class FileScan {
 public:
  explicit FileScan(const std::filesystem::path& path) : file_(open_file(path)) {
    scan_.path = path;
  }

  Scan run() {
    look(file_, "", 0);
    for (const PickleUse& use : scan_.uses) scan_.verdict = std::max(scan_.verdict, use.verdict);
    return std::move(scan_);
  }

 private:
  // Of a file, or of a part of one: which part says `where`, "" or what ends in "/". The outermost says what the format is.
  void look(const File& file, const std::string& where, int depth) {
    constexpr int kMostDepth = 4;
    if (depth > kMostDepth) return find(true, 0, where + ": archives in archives in archives");
    const std::string head = read_text(file, 0, std::min<std::uint64_t>(file.nbytes(), 1024));
    if (head.starts_with("PK\3\4") || head.starts_with("PK\5\6"))
      archives(file, where, depth);
    else if (head.starts_with("\x93NUMPY"))
      array(file, where);
    else if (depth > 0)
      member_bytes(file, where);
    else if (known_format())
      polyglot();
    else if (const std::string bytes = whole(file); !tar(bytes))
      stream(bytes);
  }

  // Of what says nothing of itself: a pickle, if its beginning is one.
  void member_bytes(const File& file, const std::string& where) {
    const std::string bytes = enough(file);
    const PickleScan first = scan_pickle(std::as_bytes(std::span(bytes)), where);
    if (first.broken.empty() || does_harm(first.uses) || bytes.starts_with("\x80"))
      pickles(bytes, where, base_of(file), Follow::some);
  }

  // As much of the beginning as can be read as pickles: of bytes that are none a few, however many there are.
  static std::string enough(const File& file) {
    constexpr std::uint64_t kProbeNbytes = 64 << 10;
    std::string begin = read_text(file, 0, std::min(file.nbytes(), kProbeNbytes));
    std::size_t at = 0;
    for (int i = 0; i < kLegacyPickles && at < begin.size(); ++i) {
      const PickleScan found = scan_pickle(std::as_bytes(std::span(begin).subspan(at)), "");
      at += found.nbytes;
      if (!found.broken.empty() && at < begin.size()) return begin;
    }
    return at < begin.size() ? begin : whole(file);
  }

  void find(bool suspicious, std::uint64_t offset, std::string what) {
    if (scan_.findings.size() < kMaxFindings || (suspicious && !is_suspicious_))
      scan_.findings.push_back({suspicious, offset, std::move(what)});
    is_suspicious_ = is_suspicious_ || suspicious;
  }
  void broken(std::uint64_t offset, std::string what) {
    scan_.broken = true;
    find(false, offset, std::move(what));
  }

  // What is read of it is broken off where more was needed.
  static std::string whole(const File& file) {
    return read_text(file, 0, std::min(file.nbytes(), kMaxPickleNbytes));
  }

  void add(PickleScan& found, std::size_t at) {
    for (PickleUse& use : found.uses) {
      if (scan_.uses.size() == kMaxUses) return broken(at, "more names than a model uses");
      use.offset += at;
      scan_.uses.push_back(std::move(use));
    }
  }

  // Pickles one after the other, as a loader takes them: of a stream of PyTorch's the first five, whatever they are; else as
  // many as there are. What is no pickle counts if it does harm before it breaks. Returns where they end.
  enum class Follow : std::uint8_t { none, some, five };
  std::size_t pickles(std::string_view bytes, const std::string& member, std::uint64_t offset,
                      Follow follow) {
    std::size_t at = 0;
    const int most = follow == Follow::none ? 1 : follow == Follow::five ? kLegacyPickles : 1 << 20;
    for (int i = 0; i < most && at < bytes.size(); ++i) {
      PickleScan found = scan_pickle(std::as_bytes(std::span(bytes.substr(at))), member);
      const bool says_so = bytes[at] == '\x80' || follow != Follow::some;
      if (!found.broken.empty() && !says_so && !does_harm(found.uses)) return at;
      add(found, at);
      if (scan_.uses.size() == kMaxUses) return bytes.size();
      at += found.nbytes;
      if (found.broken.empty()) continue;
      broken(offset + at, (member.empty() ? "" : member + ": ") + found.broken);
      return bytes.size();
    }
    return at;
  }

  // What stands behind a pickle, where loaders read nothing.
  void remains(std::string_view bytes, const std::string& member, std::uint64_t offset) {
    if (bytes.find_first_not_of('\0') == std::string_view::npos) return;
    find(true, offset,
         (member.empty() ? "" : member + ": ") + std::to_string(bytes.size()) +
             " bytes behind the pickle's end, which loaders do not read");
    pickles(bytes, member, offset, Follow::some);
  }

  // A pickle of its own, or PyTorch's stream of five, with storages behind them. Or nothing that is known: then what can be
  // read as a pickle is.
  void stream(std::string_view bytes) {
    const bool legacy = bytes.find("\x8A\x0A\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19\x2E") < 16;
    scan_.format = legacy ? "legacy stream" : "pickle";
    const std::size_t end = pickles(bytes, "", 0, legacy ? Follow::five : Follow::some);
    const bool is_pickle =
        bytes.starts_with("\x80") || (end > 0 && !scan_.broken) || does_harm(scan_.uses);
    if (is_pickle) {
      if (!legacy) remains(bytes.substr(end), "", end);
      return;
    }
    scan_.format = "unknown";
    scan_.uses.clear();
    scan_.findings.clear();
    try {
      format_of(file_);
    } catch (const Error& error) {
      broken(0, error.what());
    }
  }

  // Of a file of a format without pickles: what somebody does with it who takes it for one.
  void polyglot() {
    const std::string bytes = enough(file_);
    const std::size_t before = scan_.uses.size();
    std::size_t at = 0;
    for (int i = 0; i < kLegacyPickles && at < bytes.size(); ++i) {
      PickleScan found = scan_pickle(std::as_bytes(std::span(bytes).subspan(at)), "");
      add(found, at);
      at += found.nbytes;
      if (!found.broken.empty()) break;
    }
    const std::vector<PickleUse> uses(scan_.uses.begin() + static_cast<std::ptrdiff_t>(before),
                                      scan_.uses.end());
    if (!does_harm(uses)) {
      scan_.uses.resize(before);
      return;
    }
    find(true, 0, "is a pickle too, which does what is listed above");
  }

  // PyTorch's tar, before 0.1.10: pickles with storages between them. What stands behind the first bytes of a storage is
  // not looked for, so such a file is never said to be read to its end. Facts: POSIX pax, ustar Interchange Format.
  bool tar(std::string_view bytes) {
    constexpr std::size_t kBlock = 512, kName = 100, kSize = 124, kSum = 148, kMagic = 257;
    if (bytes.size() < kBlock) return false;
    // As Python's tarfile reads them: octal digits with whatever int() takes besides, or base 256.
    const auto octal = [&](std::size_t at, std::size_t nbytes) {
      std::uint64_t value = 0;
      const std::string_view field = bytes.substr(at, nbytes);
      if (field[0] == '\x80' || field[0] == '\xFF') {
        for (const char c : field.substr(1)) value = value << 8 | static_cast<unsigned char>(c);
        return value;
      }
      std::string digits;
      for (const char c : field.substr(0, field.find('\0')))
        if (c >= '0' && c <= '7') digits += c;
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
      return value;
    };
    const auto is_header = [&](std::size_t at) {
      std::int64_t sum = 8 * ' ', of_signed = sum;  // its own field taken as blanks
      for (std::size_t i = 0; i < kBlock; ++i) {
        if (i >= kSum && i < kSum + 8) continue;
        sum += static_cast<unsigned char>(bytes[at + i]);
        of_signed += static_cast<signed char>(bytes[at + i]);
      }
      const auto said = static_cast<std::int64_t>(octal(at + kSum, 8));
      return said == sum || said == of_signed || bytes.substr(at + kMagic, 5) == "ustar";
    };
    std::size_t at = 0;
    while (bytes.size() - at >= kBlock && bytes[at] != '\0' && is_header(at)) {
      const std::string_view name = bytes.substr(at, kName);
      const std::size_t data = at + kBlock;
      const std::uint64_t nbytes =
          std::min<std::uint64_t>(octal(at + kSize, 12), bytes.size() - data);
      pickles(bytes.substr(data, nbytes), std::string(name.substr(0, name.find('\0'))), data,
              Follow::some);
      at = std::min(bytes.size(), data + (nbytes + kBlock - 1) / kBlock * kBlock);
    }
    if (at == 0) return false;
    scan_.format = "tar";
    scan_.findings.clear();
    broken(
        0,
        "a tar, as of PyTorch before 0.1.10: its pickles lie between storages, only the first of "
        "each member were looked at");
    return true;
  }

  // NumPy's .npy: a header, then bytes, or the pickle of an array of objects. numpy/lib/_format_impl.py.
  void array(const File& file, const std::string& where) {
    if (where.empty()) scan_.format = "npy";
    const std::string head = read_text(file, 0, std::min<std::uint64_t>(file.nbytes(), 1 << 16));
    const bool is_long = head.size() > 6 && head[6] != '\1';
    std::uint32_t header_nbytes = 0;
    if (head.size() >= 12) std::memcpy(&header_nbytes, head.data() + 8, is_long ? 4 : 2);
    const std::uint64_t data = 8 + (is_long ? 4 : 2) + std::uint64_t{header_nbytes};
    if (data > file.nbytes()) return broken(0, where + "an array cut short");
    // Whatever the header says is an array of objects, and it can say so in many ways: what follows is looked at.
    const std::string rest = enough(part_of(file, data, file.nbytes() - data, file.name));
    const bool of_objects =
        std::string_view(head).substr(0, data).find("'|O'") != std::string::npos;
    if (of_objects) {
      const std::size_t end = pickles(rest, where, data, Follow::none);
      return remains(std::string_view(rest).substr(end), where, data + end);
    }
    PickleScan found = scan_pickle(std::as_bytes(std::span(rest)), where);
    if (does_harm(found.uses)) add(found, data);
  }

  // Whether it is of a format without pickles.
  bool known_format() {
    try {
      const Format& format = format_of(file_);
      scan_.format = format.name;
      const Index index = format.read(file_.name, {.keep_calls = true});
      if (scan_.format == "shards") shards(index);
    } catch (const FormatError& error) {
      if (scan_.format.empty()) return false;
      // Any JSON could be an index; what is not called one is something else.
      if (scan_.format == "shards" && !file_.name.ends_with(".index.json"))
        scan_.format = "unknown";
      broken(0, error.what());
    } catch (const Error& error) {
      find(false, 0, error.what());
    }
    return true;
  }

  // What an index of shards names.
  void shards(const Index& index) {
    for (const File& file : index.files) {
      if (std::filesystem::equivalent(file.name, file_.name)) continue;
      Scan found = scan(file.name);
      scan_.broken = scan_.broken || found.broken;
      const std::string name = std::filesystem::path(file.name).filename().string();
      for (PickleUse& use : found.uses) {
        use.member = name + "/" + use.member;
        scan_.uses.push_back(std::move(use));
      }
      for (Finding& finding : found.findings)
        find(finding.suspicious, finding.offset, name + ": " + finding.what);
    }
  }

  // One archive, or several one after the other: so torch.distributed.checkpoint writes them. The last is the first found.
  void archives(File file, const std::string& where, int depth) {
    std::uint64_t begin;
    while ((begin = archive_begin(file)) > 0) {
      archive(part_of(file, begin, file.nbytes() - begin, file.name), where, depth);
      file = part_of(file, 0, begin, file.name);
    }
    archive(file, where, depth);
    if (file.nbytes() < file_.nbytes() && depth == 0)
      scan_.format = "archives";
    else if (depth == 0 && scan_.format == "torch_zip")
      would_load();
  }

  void archive(const File& file, const std::string& where, int depth) {
    std::string format = "zip";
    std::vector<Finding> odd;
    try {
      ZipArchive zip(file, [&](std::uint64_t offset, const std::string& what) {
        if (odd.size() < kMaxFindings) odd.push_back({true, base_of(file) + offset, where + what});
      });
      format = members(zip, where, depth);
    } catch (const Error& error) {
      broken(base_of(file), error.what());
      search(file, where);
    }
    // NumPy's archives of arrays have no folder.
    for (Finding& finding : odd) find(format != "npz", finding.offset, std::move(finding.what));
    if (depth == 0) scan_.format = format;
  }

  // The format.
  std::string members(ZipArchive& zip, const std::string& where, int depth) {
    std::vector<ZipMember*> all;
    std::set<std::string> inside;  // without the folder, in lower case, as PyTorch finds them
    for (ZipMember& member : zip.members()) {
      all.push_back(&member);
      const std::string_view name = member.name;
      inside.insert(lower(name.substr(std::min(name.find('/') + 1, name.size()))));
    }
    zip.find_data(all);
    names(zip, where);
    local_headers(zip, all, where);
    const bool has_values = inside.contains("data.pkl");
    const bool is_torchscript = inside.contains("constants.pkl");
    const auto program = [&](const std::string& what, const std::string& label) {
      scan_.uses.push_back({PickleUse::How::call, Verdict::runs_code, what, label, 0, 1});
    };
    bool only_arrays = !all.empty();
    for (ZipMember* member : all) {
      const std::string name = lower(member->name);
      only_arrays = only_arrays && name.ends_with(".npy");
      const std::string_view in_folder = std::string_view(name).substr(name.find('/') + 1);
      if (has_values && in_folder.starts_with("data/")) continue;  // storages
      const std::string label = where + std::string(member->name);
      const bool is_program =
          std::ranges::any_of(kPrograms, [&](std::string_view end) { return name.ends_with(end); });
      if (!is_program)
        look_into(zip, *member, label, depth);
      else if (!is_torchscript)  // whose code is told as a whole
        program("code of its own", label);
    }
    if (is_torchscript) {
      find(false, 0, where + "TorchScript: a program, which torch.jit.load would run");
      program("TorchScript code", where);
      return "torchscript";
    }
    if (inside.contains("archive_format")) {
      find(false, 0, where + "torch.export: a program, which torch.export.load would run");
      program("an exported program", where);
      return "pt2";
    }
    if (has_values) return "torch_zip";
    if (only_arrays) return "npz";
    broken(0, where + "an archive without data.pkl: not a file of torch.save");
    return "zip";
  }

  // A member that is no storage: a pickle by its name, or whatever its first bytes say.
  void look_into(ZipArchive& zip, ZipMember& member, const std::string& label, int depth) {
    const std::string name = lower(member.name);
    if (name.ends_with("/") && member.nbytes == 0) return;
    if (name.ends_with(".debug_pkl")) return;
    if (member.deflated && (inflated_nbytes_ += member.nbytes) > kLeastInflated + 20 * file_.nbytes())
      return broken(member.data_offset, label + ": more is packed in here than is looked at");
    if (name.ends_with(".pkl") || name.ends_with(".pickle")) {
      const std::string bytes = zip.read(member, kMaxPickleNbytes);
      if (bytes.empty()) return broken(member.data_offset, label + ": empty");
      const std::size_t end = pickles(bytes, label, member.data_offset, Follow::none);
      return remains(std::string_view(bytes).substr(end), label, member.data_offset + end);
    }
    const File inner = member.deflated
                           ? file_in_memory(zip.file().name + "/" + label, zip.read(member, kMaxPickleNbytes))
                           : part_of(zip.file(), member.data_offset, member.nbytes, zip.file().name);
    look(inner, label, depth + 1);
  }

  // The reader's own word, since it checks more than names.
  void would_load() {
    try {
      format_of(file_).read(file_.name, {.keep_calls = true});
    } catch (const FormatError& error) {
      broken(0, error.what());
    } catch (const Error& error) {
      find(false, 0, error.what());
    }
  }

  // Members that one reader takes for one, another for the other.
  void names(ZipArchive& zip, const std::string& where) {
    std::set<std::string> seen;
    for (const ZipMember& member : zip.members()) {
      const std::string label = where + "member \"" + std::string(member.name) + "\"";
      if (!seen.insert(lower(member.name)).second)
        find(true, member.header_offset,
             label + " is there twice for readers that ignore case, as PyTorch does");
      if (member.name.find('\0') != std::string_view::npos)
        find(true, member.header_offset, label + ": a NUL in its name");
      for (const auto& part : std::filesystem::path(std::string(member.name))) {
        if (part == ".." || part == "/")
          find(true, member.header_offset, label + " leads out of the folder it is unpacked in");
      }
    }
  }

  // What stands before each member, against what the directory says; and what stands between them.
  void local_headers(ZipArchive& zip, std::vector<ZipMember*> all, const std::string& where) {
    const std::uint64_t base = base_of(zip.file());
    std::ranges::sort(all, {}, &ZipMember::header_offset);
    std::uint64_t end = 0;
    for (const ZipMember* member : all) {
      const std::string label = where + "member \"" + std::string(member->name) + "\"";
      const ZipLocalHeader local = zip.local_header(*member);
      if (local.name != member->name)
        find(true, base + member->header_offset,
             label + " is \"" + local.name + "\" in its local header");
      if (local.method != (member->deflated ? 8 : 0))
        find(true, base + member->header_offset,
             label + " is compressed in another way in its local header");
      if (local.encrypted)
        find(true, base + member->header_offset, label + " is encrypted in its local header");
      if (local.has_sizes &&
          (local.nbytes != member->nbytes || local.stored_nbytes != member->stored_nbytes))
        find(true, base + member->header_offset, label + " has another size in its local header");
      if (member->header_offset < end)
        find(true, base + member->header_offset, label + " begins inside of the one before");
      else
        between(zip.file(), end, member->header_offset, where);
      end = std::max(end, member->data_offset + member->stored_nbytes + local.descriptor_nbytes);
    }
    between(zip.file(), end, zip.directory_offset(), where);
    if (zip.end_offset() >= zip.file().nbytes()) return;
    const std::uint64_t behind = zip.file().nbytes() - zip.end_offset();
    find(false, base + zip.end_offset(),
         where + std::to_string(behind) + " bytes behind the archive");
    if (behind <= kMaxPickleNbytes)
      pickles(read_text(zip.file(), zip.end_offset(), behind), where, zip.end_offset(),
              Follow::some);
  }

  void between(const File& file, std::uint64_t begin, std::uint64_t end, const std::string& where) {
    if (begin >= end) return;
    const std::string gap = read_text(file, begin, std::min<std::uint64_t>(end - begin, 1 << 20));
    if (gap.find("PK\3\4") != std::string::npos)
      find(true, base_of(file) + begin,
           where + "a member between the others that the directory does not mention");
    else if (gap.find_first_not_of('\0') != std::string::npos)
      find(begin == 0, base_of(file) + begin,
           where + std::to_string(end - begin) + " bytes that belong to no member");
  }

  // No directory, or one that cannot be believed: whatever looks like a pickle's local header is followed.
  void search(const File& file, const std::string& where) {
    const std::string bytes = read_text(file, 0, std::min(file.nbytes(), kMaxPickleNbytes));
    std::size_t end;
    for (std::size_t at = bytes.find("PK\3\4"); at != std::string::npos;
         at = bytes.find("PK\3\4", end)) {
      end = at + 4;
      if (bytes.size() - at < 30) break;
      std::uint16_t name_nbytes, extra_nbytes;
      std::memcpy(&name_nbytes, bytes.data() + at + 26, 2);
      std::memcpy(&extra_nbytes, bytes.data() + at + 28, 2);
      const std::size_t data = at + 30 + name_nbytes + extra_nbytes;
      if (data >= bytes.size()) continue;
      const std::string_view name = std::string_view(bytes).substr(at + 30, name_nbytes);
      if (name.size() < 4 || lower(name.substr(name.size() - 4)) != ".pkl") continue;
      end = std::min(bytes.find("PK\3\4", data), bytes.size());
      const PickleScan found = scan_pickle(
          std::as_bytes(std::span(bytes).subspan(data, end - data)), where + std::string(name));
      scan_.uses.insert(scan_.uses.end(), found.uses.begin(), found.uses.end());
    }
  }

  File file_;
  std::uint64_t inflated_nbytes_ = 0;  // of members that were looked into
  bool is_suspicious_ = false;
  Scan scan_;
};

}  // namespace

std::string_view name(Verdict verdict) {
  return verdict == Verdict::plain           ? "plain"
         : verdict == Verdict::needs_classes ? "needs classes"
                                             : "would run code";
}

std::string_view name(PickleUse::How how) {
  switch (how) {
    case PickleUse::How::mention:
      return "imports";
    case PickleUse::How::call:
      return "calls";
    case PickleUse::How::make:
      return "makes";
    case PickleUse::How::set_state:
      return "sets the state of";
    case PickleUse::How::persistent_id:
      return "looks up";
    case PickleUse::How::extension:
      return "takes from the registry";
  }
  return "";
}

std::string Scan::summary() const {
  const bool suspicious =
      std::ranges::any_of(findings, [](const Finding& finding) { return finding.suspicious; });
  std::string text;
  const auto say = [&](std::string_view word) {
    text += (text.empty() ? "" : ", ") + std::string(word);
  };
  if (format == "unknown") return "no model";
  if (verdict != Verdict::plain || (!suspicious && !broken)) say(name(verdict));
  if (suspicious) say("suspicious");
  if (broken) say("broken");
  return text;
}

bool Scan::is_dangerous() const {
  return verdict == Verdict::runs_code ||
         std::ranges::any_of(findings, [](const Finding& finding) { return finding.suspicious; });
}

Scan scan(const std::filesystem::path& path) { return FileScan(path).run(); }

}  // namespace transload
