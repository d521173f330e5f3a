// Scanning, top to bottom: the file ► its container ► each pickle of each member, judged ► a verdict.
//
// Nothing here believes a file: members are judged by content, a damaged archive is searched for local headers, a pickle
// that breaks off is judged by what came before. The verdict on a name comes from the allow-list that opening uses too
// (pickle/globals); members and oddities come from the container that the formats read.
#include "transload/scan.h"

#include <algorithm>

#include "archive/decompress.h"
#include "archive/tar.h"
#include "format/format.h"
#include "format/shards.h"
#include "scan/archives.h"
#include "scan/contents.h"
#include "scan/report.h"
#include "transload/error.h"

namespace transload {
namespace {

// The reader's own word, since it checks more than names. Returns where tensors' bytes lie, which need no look.
KnownOffsets ask_reader(const Format& format, Opened& opened, Report& report) {
  KnownOffsets known;
  try {
    const Index index = format.read(opened, {.keep_calls = true});
    for (const Piece& piece : index.pieces) known.push_back(piece.extent.offset);
    std::ranges::sort(known);
  } catch (const FormatError& error) {
    report.add_broken(0, error.what());
  } catch (const Error& error) {
    report.add_finding(false, 0, error.what());
  }
  return known;
}

// Every shard that an index names is scanned, even if the index is refused otherwise.
void scan_shards(Opened& opened, Report& report) {
  std::vector<std::string> names;
  try {
    names = shards::files_of(shards::read_map(opened.file()));
  } catch (const FormatError&) {
    return;  // the reader has said so
  }
  for (const std::string& name : names) {
    try {
      report.add(scan(opened.folder()->path() / name), name);
    } catch (const Error& error) {
      report.add_broken(0, name + ": " + error.what());
    }
  }
}

const Format* recognized(Opened& opened) {
  try {
    return &format_of(opened);
  } catch (const FormatError&) {
    return nullptr;
  }
}

Scan scan(Opened& opened) {
  if (opened.is_folder())
    throw UnsupportedError(opened.name() + ": expected a file, found a folder");
  Report report(opened.name(), opened.nbytes());
  const Part whole{opened.file(), "", 0, 0};
  const Format* const format = recognized(opened);
  if (opened.zip()) {
    const bool is_one = zip::last_archive_begin(opened.file()) == 0;
    const bool is_model = is_one && opened.zip()->damage().empty() && format;
    Report reader(opened.name(), opened.nbytes());  // what the reader says comes last
    opened.zip()->keep_largest_read();
    const KnownOffsets known = is_model ? ask_reader(*format, opened, reader) : KnownOffsets();
    const std::string kind =
        is_one ? judge_archive(*opened.zip(), whole, report, known) : judge_archives(whole, report);
    judge_polyglot(whole, Judged::archive, report);
    if (kind == "torch_zip" || kind == "npz") report.add(reader.finish(kind), "");
    return report.finish(kind);
  }
  if (format == &kNpy) {
    judge_array(whole, report);
    judge_polyglot(whole, Judged::array, report);
    return report.finish("npy");
  }
  if (format == &kTorchStream) {
    ask_reader(*format, opened, report);
    judge_torch_stream(whole, report);
    judge_polyglot(whole, Judged::pickle, report);
    return report.finish("legacy stream");
  }
  if (format == &kTorchTar) ask_reader(*format, opened, report);
  if (format && format != &kTorchTar && format != &kPickle) {
    ask_reader(*format, opened, report);
    if (format == &kShards) scan_shards(opened, report);
    judge_polyglot(whole, Judged::other, report);
    // Any JSON could be an index of shards: JSON that is not called one is something else.
    const bool is_index = opened.name().ends_with(shards::kIndexSuffix);
    const bool is_other = format == &kShards && report.is_broken() && !is_index;
    return report.finish(is_other ? "unknown" : std::string(format->name));
  }
  if (judge_compressed(whole, opened.head(), report))
    return report.finish(std::string(name(compression_of(opened.head()))));
  if (is_tar(opened.head())) {
    judge_tar(whole, report);
    judge_polyglot(whole, Judged::tar, report);
    return report.finish("tar");
  }
  std::string kind = judge_stream(whole, report);
  judge_last_archive(whole, report);
  if (kind == "unknown" && !report.is_clean()) kind = "zip";
  if (kind == "unknown") {
    try {
      format_of(opened);
    } catch (const Error& error) {
      report.add_broken(0, error.what());
    }
  }
  return report.finish(kind);
}

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

Scan scan(const std::filesystem::path& path) {
  Opened opened(path);
  return scan(opened);
}

Scan scan(const File& file) {
  Opened opened(file);
  return scan(opened);
}

}  // namespace transload
