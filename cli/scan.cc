// scan: what a file would do to a program that unpickles it.
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
  std::cout << fmt::format(
      "{}: {}{} ({})\n", printable(scan.path.string()),
      scan.broken && scan.verdict == Verdict::plain ? "broken" : name(scan.verdict),
      scan.broken && scan.verdict != Verdict::plain ? ", and broken" : "", scan.format);
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
  // Bytes that are no UTF-8 are shown as printable() does.
  const auto text = [&](std::string_view value) {
    const std::string shown = printable(value);
    json.String(shown.data(), static_cast<rapidjson::SizeType>(shown.size()));
  };
  json.StartObject();
  json.Key("file"), text(scan.path.string());
  json.Key("format"), text(scan.format);
  json.Key("verdict"), text(name(scan.verdict));
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

std::vector<std::filesystem::path> files_in(const std::vector<std::filesystem::path>& paths) {
  std::vector<std::filesystem::path> files;
  for (const auto& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  return files;
}

}  // namespace

bool scan_files(const ScanArguments& arguments) {
  bool clean = true;
  char buffer[1 << 16];
  rapidjson::FileWriteStream out(stdout, buffer, sizeof buffer);
  rapidjson::PrettyWriter<rapidjson::FileWriteStream> json(out);
  if (arguments.json) json.StartArray();
  for (const auto& file : files_in(arguments.paths)) {
    const Scan found = scan(file);
    clean = clean && !found.is_dangerous() && !found.broken;
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
