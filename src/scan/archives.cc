#include "scan/archives.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "archive/tar.h"
#include "archive/torch_stream.h"
#include "archive/zip_read.h"
#include "transload/error.h"

namespace transload {
namespace {

constexpr std::uint64_t kMaxMemberNbytes = 1ull << 30;
// The members that hold a program, by what their names end in.
constexpr std::string_view kPrograms[] = {".py",  ".pyc",   ".so", ".pyd",
                                          ".dll", ".dylib", ".sh", ".exe"};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// The name without its folder.
std::string_view in_folder(std::string_view name) {
  return name.substr(std::min(name.find('/') + 1, name.size()));
}

bool ends_with_any(std::string_view name, std::span<const std::string_view> endings) {
  return std::ranges::any_of(endings, [&](std::string_view end) { return name.ends_with(end); });
}

// One archive: what its members' names say it is, then each member.
class ArchiveScan {
 public:
  ArchiveScan(Container& container, const Part& part, Report& report, const KnownOffsets& known)
      : container_(container), part_(part), report_(report), known_(known) {
    if (!part.member.empty()) where_ = part.member + "/";
  }

  std::string run() {
    const std::vector<Member> hidden = container_.examine();
    if (!container_.damage().empty()) report_.add_broken(part_.offset, container_.damage());
    for (const Member& member : container_.members()) names_.insert(lower(in_folder(member.name)));
    const std::string format = format_by_names();
    for (Member& member : container_.members()) judge(member);
    for (const Member& member : hidden) judge_hidden(member);
    add_oddities(format);
    add_programs();
    if (format == "zip" && container_.damage().empty()) {
      report_.add_broken(part_.offset,
                         where_ + "an archive without data.pkl: not a file of torch.save");
    }
    return format;
  }

 private:
  bool has(const char* name) const { return names_.contains(name); }

  std::string format_by_names() const {
    if (has("constants.pkl")) return "torchscript";
    if (has("archive_format")) return "pt2";
    if (has("data.pkl")) return "torch_zip";
    const auto members = container_.members();
    const bool only_arrays = std::ranges::all_of(
        members, [](const Member& member) { return lower(member.name).ends_with(".npy"); });
    return only_arrays && !members.empty() ? "npz" : "zip";
  }

  void judge(Member& member) {
    const std::string name = lower(member.name), label = where_ + std::string(member.name);
    if (!member.data_offset) return;  // its header is damaged, which is an oddity
    if (is_storage(member)) return;
    if (name.ends_with("/") && member.nbytes == 0) return;
    if (ends_with_any(name, kPrograms)) {
      if (!has("constants.pkl")) add_program("code of its own", label);
      return;
    }
    try {
      judge(member, name, label);
    } catch (const FormatError& error) {
      report_.add_broken(part_.offset + member.data_offset, error.what());
    }
  }

  // Storages that the values name are not searched, but others can read them as something else: by a name with an ending, or
  // as NumPy's arrays, which need no name.
  bool is_storage(const Member& member) const {
    if (!std::ranges::binary_search(known_, part_.offset + member.data_offset)) return false;
    const std::string_view name = member.name.substr(member.name.rfind('/') + 1);
    if (name.find_first_not_of("0123456789") != name.npos) return false;
    return member.encoding != Encoding::as_is || !is_array(container_.file(), member.data_offset);
  }

  void judge(const Member& member, const std::string& name, const std::string& label) {
    const Part inner{file_of(member, label), label, part_.offset + member.data_offset,
                     part_.depth + 1};
    if (!inner.file.source) return;
    if (name.ends_with("pkl") || name.ends_with(".pickle"))
      judge_pickle(inner, report_);
    else
      judge_contents(inner, report_);
  }

  // The decoded bytes of a member as a file; without a source if the budget does not allow it.
  File file_of(const Member& member, const std::string& label) {
    const File& file = container_.file();
    if (auto kept = container_.take_kept(member))
      return file_in_memory(file.name + "/" + label, std::move(*kept));
    if (member.encoding == Encoding::as_is)
      return part_of(file, member.data_offset, member.stored_nbytes, file.name);
    if (!report_.take(member.nbytes)) {
      report_.add_broken(part_.offset + member.data_offset,
                         label + ": the archive inflates to more than is looked at");
      return {};
    }
    if (member.nbytes > kMaxMemberNbytes) {
      report_.add_broken(part_.offset + member.data_offset,
                         label + ": inflates to more than is looked at");
      return {};
    }
    return file_in_memory(file.name + "/" + label, read_member(file, member));
  }

  // A member that the directory does not mention. What its header states is not believed.
  void judge_hidden(const Member& member) {
    const std::string label = where_ + std::string(member.name);
    const Part inner{hidden_file(member), label, part_.offset + member.data_offset,
                     part_.depth + 1};
    if (inner.file.source) return judge_contents(inner, report_);
    report_.add_broken(inner.offset, label + ": the archive holds more than is looked at");
  }

  // Of a deflated member only as much as its bytes in the file allow is decoded; cut short, it is looked at as a damaged one.
  File hidden_file(const Member& member) {
    constexpr std::uint64_t kLeast = 64 << 10, kMostRatio = 20;
    const File& file = container_.file();
    if (member.encoding == Encoding::as_is)
      return part_of(file, member.data_offset, member.stored_nbytes, file.name);
    const std::uint64_t most = std::max(kLeast, kMostRatio * member.stored_nbytes);
    if (!report_.take(most)) return {};
    std::string bytes = read_first(file, member, most);
    if (bytes.size() == most) {
      report_.add_broken(
          part_.offset + member.data_offset,
          where_ + std::string(member.name) + ": inflates to more than is looked at");
    }
    return file_in_memory(file.name, std::move(bytes));
  }

  void add_oddities(const std::string& format) {
    for (const Oddity& oddity : container_.oddities())
      report_.add_finding(oddity.readers_differ, part_.offset + oddity.offset,
                          where_ + oddity.text);
    const bool is_of_torch = format != "npz" && format != "zip";
    auto* const zip = dynamic_cast<ZipContainer*>(&container_);
    if (!is_of_torch || !zip || zip->members().empty()) return;
    const std::string_view first = zip->members().front().name;
    for (const Oddity& oddity : folder_oddities(*zip, first.substr(0, first.find('/'))))
      report_.add_finding(true, part_.offset + oddity.offset, where_ + oddity.text);
  }

  void add_programs() {
    if (has("constants.pkl")) {
      report_.add_finding(false, part_.offset,
                          where_ + "TorchScript: a program, which torch.jit.load would run");
      add_program("TorchScript code", where_);
    } else if (has("archive_format")) {
      report_.add_finding(false, part_.offset,
                          where_ + "torch.export: a program, which torch.export.load would run");
      add_program("an exported program", where_);
    }
  }

  void add_program(const std::string& name, const std::string& label) {
    report_.add_use({PickleUse::How::call, Verdict::runs_code, name, label, 0, 1});
  }

  Container& container_;
  const Part& part_;
  Report& report_;
  const KnownOffsets& known_;
  std::string where_;            // before a member's name: "model/inner.zip/"
  std::set<std::string> names_;  // without the folder, in lower case, as PyTorch finds them
};

}  // namespace

std::string judge_archive(Container& container, const Part& part, Report& report,
                          const KnownOffsets& known) {
  const std::string format = ArchiveScan(container, part, report, known).run();
  // What lies behind the archive belongs to no member; a pickle there is found by who unpickles the file from there.
  if (const auto* const zip = dynamic_cast<ZipContainer*>(&container);
      zip && zip->damage().empty() && zip->end_offset() < part.file.nbytes()) {
    const std::uint64_t begin = zip->end_offset();
    judge_leftover({part_of(part.file, begin, part.file.nbytes() - begin, part.file.name),
                    part.member, part.offset + begin, part.depth},
                   report);
  }
  return format;
}

std::string judge_archives(const Part& part, Report& report, const KnownOffsets& known) {
  Part rest = part;
  bool is_one = true;
  std::string format;
  while (true) {
    const std::uint64_t begin = zip::last_archive_begin(rest.file);
    Part last = rest;
    last.offset += begin;
    if (begin > 0)
      last.file = part_of(rest.file, begin, rest.file.nbytes() - begin, rest.file.name);
    ZipContainer container(last.file);
    format = judge_archive(container, last, report, known);
    if (begin == 0) break;
    is_one = false;
    rest.file = part_of(rest.file, 0, begin, rest.file.name);
  }
  return is_one ? format : "archives";
}

void judge_torch_stream(const Part& part, Report& report) {
  TorchStream stream(part.file);
  std::uint64_t end = 0;
  for (const Member& member : stream.members()) {
    judge_leftover(
        {part_of(part.file, member.data_offset, member.nbytes, part.file.name),
         part.label() + std::string(member.name), part.offset + member.data_offset, part.depth + 1},
        report);
    end = member.data_offset + member.nbytes;
  }
  if (stream.damage().empty()) return;
  // A loader runs the pickle that breaks off as far as it goes.
  judge_leftover({part_of(part.file, end, part.file.nbytes() - end, part.file.name), part.member,
                  part.offset + end, part.depth},
                 report);
}

void judge_last_archive(const Part& part, Report& report) {
  if (!zip::has_end(part.file)) return;
  const std::uint64_t begin = zip::last_archive_begin(part.file);
  Part last = part;
  last.offset += begin;
  last.file = part_of(part.file, begin, part.file.nbytes() - begin, part.file.name);
  ZipContainer container(last.file);
  if (container.members().empty()) return;
  report.add_finding(true, last.offset, part.label() + "what ends here is a zip archive too");
  judge_archive(container, last, report, {});
}

void judge_tar(const Part& part, Report& report) {
  TarContainer tar(part.file);
  for (const Member& member : tar.members()) {
    const std::string label = part.label() + std::string(member.name);
    judge_contents({part_of(part.file, member.data_offset, member.nbytes, part.file.name), label,
                    part.offset + member.data_offset, part.depth + 1},
                   report);
  }
  report.add_broken(
      part.offset,
      part.label() +
          "a tar, as PyTorch wrote it before 0.1.10: its pickles lie between storages, "
          "and only the first of each member were looked at");
}

}  // namespace transload
