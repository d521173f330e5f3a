// scan: prints what files would do to a program that unpickles them, for people or as JSON.
#include <algorithm>
#include <cstdio>
#include <iostream>

#include <fmt/format.h>
#include <rapidjson/filewritestream.h>
#include <rapidjson/prettywriter.h>

#include "commands.h"
#include "words.h"

namespace transload::cli {
namespace {

void print(const Scan& scan) {
  std::cout << fmt::format("{}: {} ({})\n", printable(scan.path.string()), scan.summary(),
                           printable(scan.format));
  for (const PickleUse& use : scan.uses) {
    if (use.verdict == Verdict::plain) continue;
    std::cout << fmt::format(
        "  {}{}offset {}: {} {}{}: {}\n", printable(use.member), use.member.empty() ? "" : ", ",
        use.offset, name(use.how), printable(use.name),
        use.count > 1 ? fmt::format(", {} times", use.count) : "", name(use.verdict));
  }
  for (const Finding& finding : scan.findings)
    std::cout << fmt::format("  offset {}: {}{}\n", finding.offset,
                             finding.suspicious ? "suspicious: " : "", printable(finding.what));
}

template <class Json>
void write(Json& json, const Scan& scan) {
  // Control characters are escaped as for people: see printable().
  const auto text = [&](std::string_view value) {
    const std::string shown = printable(value);
    json.String(shown.data(), static_cast<rapidjson::SizeType>(shown.size()));
  };
  json.StartObject();
  json.Key("file"), text(scan.path.string());
  json.Key("format"), text(scan.format);
  json.Key("verdict"), text(scan.summary());
  json.Key("dangerous"), json.Bool(scan.is_dangerous());
  json.Key("broken"), json.Bool(scan.broken);
  json.Key("uses"), json.StartArray();
  for (const PickleUse& use : scan.uses) {
    json.StartObject();
    json.Key("how"), text(name(use.how));
    json.Key("name"), text(use.name);
    json.Key("verdict"), text(name(use.verdict));
    json.Key("member"), text(use.member);
    json.Key("offset"), json.Uint64(use.offset);
    json.Key("count"), json.Uint64(use.count);
    json.EndObject();
  }
  json.EndArray();
  json.Key("findings"), json.StartArray();
  for (const Finding& finding : scan.findings) {
    json.StartObject();
    json.Key("suspicious"), json.Bool(finding.suspicious);
    json.Key("offset"), json.Uint64(finding.offset);
    json.Key("what"), text(finding.what);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
}

struct Found {
  std::filesystem::path path;
  bool in_folder;  // found in a folder, so that a file of an unknown format is not an error
};

// Returns the files and, for folders, all files below them, sorted. Does not follow links to
// folders.
std::vector<Found> files_in(const std::vector<std::filesystem::path>& paths) {
  namespace fs = std::filesystem;
  std::vector<Found> files;
  for (const fs::path& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      files.push_back({path, false});
      continue;
    }
    const std::size_t begin = files.size();
    std::vector<fs::path> folders{path};
    while (!folders.empty()) {
      const fs::path folder = folders.back();
      folders.pop_back();
      fs::directory_iterator entry(folder, error);
      if (error) files.push_back({folder, false});  // scan() reports that it cannot be read
      for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
        std::error_code ignored;
        if (entry->is_directory(ignored) && !entry->is_symlink(ignored))
          folders.push_back(entry->path());
        else if (entry->is_regular_file(ignored))
          files.push_back({entry->path(), true});
      }
    }
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(begin), files.end(),
              [](const Found& a, const Found& b) { return a.path < b.path; });
  }
  return files;
}

// Returns a Scan that is marked broken, with the error as its finding, if the file cannot be
// scanned.
Scan scan_or_error(const std::filesystem::path& path) {
  try {
    return scan(path);
  } catch (const Error& error) {
    Scan unreadable;
    unreadable.path = path;
    unreadable.format = "not read";
    unreadable.broken = true;
    unreadable.findings.push_back({false, 0, error.what()});
    return unreadable;
  }
}

}  // namespace

bool scan_files(const ScanArguments& arguments) {
  bool clean = true;
  char buffer[1 << 16];
  rapidjson::FileWriteStream out(stdout, buffer, sizeof buffer);
  rapidjson::PrettyWriter<rapidjson::FileWriteStream> json(out);
  if (arguments.json) json.StartArray();
  for (const auto& [path, in_folder] : files_in(arguments.paths)) {
    const Scan found = scan_or_error(path);
    const bool counts = !(in_folder && found.format == "unknown");
    clean = clean && (!counts || (!found.is_dangerous() && !found.broken));
    if (arguments.json)
      write(json, found);
    else
      print(found);
  }
  if (arguments.json) {
    json.EndArray();
    out.Put('\n');
    out.Flush();
  }
  return clean;
}

}  // namespace transload::cli
