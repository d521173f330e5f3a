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
#include "format/pickle_scan.h"
#include "format/zip.h"
#include "io/file.h"
#include "transload/error.h"

namespace transload {
namespace {

constexpr std::uint64_t kMaxPickleNbytes = 1ull << 30;
constexpr std::size_t kMaxFindings = 100;
// torch/serialization.py, _legacy_load: magic, protocol, system, values, keys.
constexpr int kLegacyPickles = 5;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool runs_code(const std::vector<PickleUse>& uses) {
  return std::ranges::any_of(
      uses, [](const PickleUse& use) { return use.verdict == Verdict::runs_code; });
}

class FileScan {
 public:
  explicit FileScan(const std::filesystem::path& path) : file_(open_file(path)) {
    scan_.path = path;
  }

  Scan run() {
    const std::string head = read_text(file_, 0, std::min<std::uint64_t>(file_.nbytes, 1024));
    if (head.starts_with("PK\3\4") || head.starts_with("PK\5\6"))
      archive();
    else if (!known_format())
      stream();
    for (const PickleUse& use : scan_.uses) scan_.verdict = std::max(scan_.verdict, use.verdict);
    return std::move(scan_);
  }

 private:
  void find(bool suspicious, std::uint64_t offset, std::string what) {
    if (scan_.findings.size() < kMaxFindings)
      scan_.findings.push_back({suspicious, offset, std::move(what)});
  }

  // Pickles one after the other, as a loader takes them; what follows the last one is told.
  enum class Follow : std::uint8_t { all, some };
  void pickles(std::string_view bytes, const std::string& member, std::uint64_t offset, int most,
               Follow follow = Follow::all) {
    std::size_t at = 0;
    for (int i = 0; i < most && at < bytes.size(); ++i) {
      PickleScan found = scan_pickle(std::as_bytes(std::span(bytes.substr(at))), member);
      // What stands behind a pickle of its own may be anything: another one is what says so, or does harm.
      const bool is_one =
          i == 0 || follow == Follow::all || bytes[at] == '\x80' || runs_code(found.uses);
      if (!is_one) break;
      for (PickleUse& use : found.uses) {
        use.offset += at;
        scan_.uses.push_back(std::move(use));
      }
      at += found.nbytes;
      if (!found.broken.empty()) {
        scan_.broken = true;
        find(false, offset + at, (member.empty() ? "" : member + ": ") + found.broken);
        return;
      }
    }
    if (at < bytes.size() && follow == Follow::all && !member.empty()) {
      find(true, offset + at,
           member + ": " + std::to_string(bytes.size() - at) +
               " bytes behind the pickle's end, which loaders do not read");
    }
  }

  // A pickle of its own, or PyTorch's stream of five, with storages behind them. Or nothing that is known: then what can be
  // read as a pickle is.
  void stream() {
    const std::string bytes = read_text(file_, 0, std::min(file_.nbytes, kMaxPickleNbytes));
    if (tar(bytes)) return;
    const bool legacy = bytes.find("\x8A\x0A\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19\x2E") < 16;
    scan_.format = legacy ? "legacy stream" : "pickle";
    if (legacy)
      pickles(bytes, "", 0, kLegacyPickles);
    else
      pickles(bytes, "", 0, 1 << 20, Follow::some);
    if (!scan_.broken || bytes.starts_with("\x80") || runs_code(scan_.uses)) return;
    scan_.format = "unknown";
    scan_.uses.clear();
    scan_.findings.clear();
    try {
      format_of(file_.path);
    } catch (const Error& error) {
      find(false, 0, error.what());
    }
  }

  // PyTorch's tar, before 0.1.10: pickles with storages between them. What stands behind the first bytes of a storage is
  // not looked for, so such a file is never said to be read to its end. Facts: POSIX pax, ustar Interchange Format.
  bool tar(std::string_view bytes) {
    constexpr std::size_t kBlock = 512, kName = 100, kSize = 124, kSum = 148, kFieldNbytes = 12;
    const auto octal = [&](std::size_t at) {
      std::uint64_t value = 0;
      const std::string_view field = bytes.substr(at, kFieldNbytes);
      const std::size_t begin = std::min(field.find_first_not_of(' '), field.size());
      std::from_chars(field.data() + begin, field.data() + field.size(), value, 8);
      return value;
    };
    std::size_t at = 0;
    for (; bytes.size() - at > kBlock && bytes[at] != '\0';) {
      std::uint64_t sum = 8 * ' ';  // of the header, its own field taken as blanks
      for (std::size_t i = 0; i < kBlock; ++i) {
        if (i < kSum || i >= kSum + 8) sum += static_cast<unsigned char>(bytes[at + i]);
      }
      if (octal(at + kSum) != sum) break;
      const std::string_view name = bytes.substr(at, kName);
      const std::size_t data = at + kBlock;
      const std::uint64_t nbytes = std::min<std::uint64_t>(octal(at + kSize), bytes.size() - data);
      pickles(bytes.substr(data, nbytes), std::string(name.substr(0, name.find('\0'))), data,
              1 << 20, Follow::some);
      at = std::min(bytes.size(), data + (nbytes + kBlock - 1) / kBlock * kBlock);
    }
    if (at == 0) return false;
    scan_.format = "tar";
    scan_.broken = true;
    scan_.findings.clear();
    find(false, 0,
         "a tar, as of PyTorch before 0.1.10: its pickles lie between storages, only the first of "
         "each "
         "member were looked at");
    return true;
  }

  // Whether it is of a format without pickles.
  bool known_format() {
    try {
      const Format& format = format_of(file_.path);
      scan_.format = format.name;
      format.read(file_.path, {});
    } catch (const FormatError& error) {
      if (scan_.format.empty()) return false;
      scan_.broken = true;
      find(false, 0, error.what());
    } catch (const Error& error) {
      find(false, 0, error.what());
    }
    return true;
  }

  void archive() {
    scan_.format = "zip";
    try {
      ZipArchive zip(
          file_, [&](std::uint64_t offset, const std::string& what) { find(true, offset, what); });
      members(zip);
    } catch (const Error& error) {
      scan_.broken = true;
      find(false, 0, error.what());
      search();
    }
  }

  void members(ZipArchive& zip) {
    std::vector<ZipMember*> all;
    for (ZipMember& member : zip.members()) all.push_back(&member);
    zip.find_data(all);
    names(zip);
    local_headers(zip, all);
    bool has_values = false;
    for (ZipMember* member : all) {
      const std::string name = lower(member->name);
      const bool values = name.ends_with("/data.pkl") || name == "data.pkl";
      has_values = has_values || values;
      if (!name.ends_with(".pkl") && !name.ends_with(".pickle")) continue;
      if (name.ends_with(".debug_pkl")) continue;
      const std::string bytes = zip.read(*member, kMaxPickleNbytes);
      pickles(bytes, std::string(member->name), member->data_offset, 1);
      if (bytes.empty())
        find(false, member->data_offset, std::string(member->name) + ": empty"),
            scan_.broken = true;
    }
    if (zip.find("constants.pkl")) {
      scan_.format = "torchscript";
      find(false, 0, "TorchScript: a program, which torch.jit.load would run");
      scan_.uses.push_back(
          {PickleUse::How::call, Verdict::runs_code, "TorchScript code", "", 0, 1});
    } else if (has_values) {
      scan_.format = "torch_zip";
    }
  }

  // Members that one reader takes for one, another for the other.
  void names(ZipArchive& zip) {
    std::set<std::string> seen;
    for (const ZipMember& member : zip.members()) {
      const std::string label = "member \"" + std::string(member.name) + "\"";
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
  void local_headers(ZipArchive& zip, std::vector<ZipMember*> all) {
    std::ranges::sort(all, {}, &ZipMember::header_offset);
    std::uint64_t end = 0;
    for (const ZipMember* member : all) {
      const std::string label = "member \"" + std::string(member->name) + "\"";
      const ZipLocalHeader local = zip.local_header(*member);
      if (local.name != member->name)
        find(true, member->header_offset, label + " is \"" + local.name + "\" in its local header");
      if (local.method != (member->deflated ? 8 : 0))
        find(true, member->header_offset,
             label + " is compressed in another way in its local header");
      if (local.encrypted)
        find(true, member->header_offset, label + " is encrypted in its local header");
      if (local.has_sizes &&
          (local.nbytes != member->nbytes || local.stored_nbytes != member->stored_nbytes))
        find(true, member->header_offset, label + " has another size in its local header");
      if (member->header_offset < end)
        find(true, member->header_offset, label + " begins inside of the one before");
      else
        between(end, member->header_offset);
      end = std::max(end, member->data_offset + member->stored_nbytes + local.descriptor_nbytes);
    }
    between(end, zip.directory_offset());
    if (zip.end_offset() < file_.nbytes)
      find(false, zip.end_offset(),
           std::to_string(file_.nbytes - zip.end_offset()) + " bytes behind the archive");
  }

  void between(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) return;
    const std::string gap = read_text(file_, begin, std::min<std::uint64_t>(end - begin, 1 << 20));
    if (gap.find("PK\3\4") != std::string::npos)
      find(true, begin, "a member between the others that the directory does not mention");
    else if (gap.find_first_not_of('\0') != std::string::npos)
      find(begin == 0, begin, std::to_string(end - begin) + " bytes that belong to no member");
  }

  // No directory, or one that cannot be believed: whatever looks like a pickle's local header is followed.
  void search() {
    const std::string bytes = read_text(file_, 0, std::min(file_.nbytes, kMaxPickleNbytes));
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
      const PickleScan found =
          scan_pickle(std::as_bytes(std::span(bytes).subspan(data, end - data)), std::string(name));
      scan_.uses.insert(scan_.uses.end(), found.uses.begin(), found.uses.end());
    }
  }

  File file_;
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

bool Scan::is_dangerous() const {
  return verdict == Verdict::runs_code ||
         std::ranges::any_of(findings, [](const Finding& finding) { return finding.suspicious; });
}

Scan scan(const std::filesystem::path& path) { return FileScan(path).run(); }

}  // namespace transload
