// verify: compares the bytes of a file with its checksums, and its tensors with a manifest of
// digests.
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include <fmt/format.h>
#include <rapidjson/document.h>
#include <rapidjson/ostreamwrapper.h>
#include <rapidjson/prettywriter.h>

#include "commands.h"
#include "digest.h"
#include "progress.h"
#include "words.h"

namespace transload::cli {
namespace {

using Manifest = std::map<std::string, std::string>;  // tensor name to "float32 [2, 3] <SHA-256>"

// Returns a name that is not in the manifest yet. In a file {"a/b": x, "a": {"b": y}} both tensors
// are named "a/b"; the second becomes "a/b (2)".
std::string own_name(const Manifest& manifest, const std::string& name) {
  std::string own = name;
  for (int number = 2; manifest.contains(own); ++number) own = fmt::format("{} ({})", name, number);
  return own;
}

Manifest manifest_of(const Index& index) {
  const std::vector<std::string> found = digests(index);
  const std::vector<NamedTensor> tensors = index.contents.tensors();
  Manifest manifest;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor tensor = tensors[i].value.tensor();
    if (found[i].empty() && tensor.nbytes() > 0 &&
        tensors[i].value.storage_number() != Value::kNoStorage)
      throw UnsupportedError(index.files.front().name + ": \"" + tensors[i].name +
                             "\" repeats the bytes of its storage too often to compute its digest");
    manifest[own_name(manifest, printable(tensors[i].name))] =
        fmt::format("{} {} {}", name(tensor.dtype()), tensor.shape().str(), found[i]);
  }
  return manifest;
}

void write_manifest(const std::filesystem::path& path, const Manifest& manifest) {
  std::ofstream file(path);
  rapidjson::OStreamWrapper stream(file);
  rapidjson::PrettyWriter<rapidjson::OStreamWrapper> json(stream);
  json.StartObject();
  json.Key("tensors");
  json.StartObject();
  for (const auto& [tensor, digest] : manifest) {
    json.Key(tensor.data(), static_cast<rapidjson::SizeType>(tensor.size()));
    json.String(digest.data(), static_cast<rapidjson::SizeType>(digest.size()));
  }
  json.EndObject();
  json.EndObject();
  file << '\n';
  if (!file.flush()) throw IoError(path.string() + ": cannot write the manifest", errno);
}

Manifest read_manifest(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw IoError(path.string() + ": cannot be opened", errno);
  std::stringstream text;
  text << file.rdbuf();
  rapidjson::Document json;
  json.Parse<rapidjson::kParseIterativeFlag>(text.str().c_str());
  const bool sound = !json.HasParseError() && json.IsObject() && json.HasMember("tensors") &&
                     json["tensors"].IsObject();
  Manifest manifest;
  if (sound) {
    for (const auto& [key, value] : json["tensors"].GetObject())
      if (value.IsString()) manifest[key.GetString()] = value.GetString();
  }
  if (!sound || manifest.size() != json["tensors"].MemberCount())
    throw FormatError(
        path.string() +
        ": not a manifest; expected a file written by transload verify --write-manifest");
  return manifest;
}

void compare(const std::string& file, const Manifest& expected, const Manifest& found) {
  std::string differences;
  for (const auto& [tensor, digest] : expected) {
    const auto there = found.find(tensor);
    if (there == found.end())
      differences += "\n  \"" + tensor + "\" is not in the file";
    else if (there->second != digest)
      differences += "\n  \"" + tensor + "\" is " + there->second + ", expected " + digest;
  }
  for (const auto& [tensor, digest] : found)
    if (!expected.contains(tensor)) differences += "\n  \"" + tensor + "\" is not in the manifest";
  if (!differences.empty()) throw FormatError(file + ": differs from the manifest:" + differences);
}

}  // namespace

void verify_file(const VerifyArguments& arguments) {
  VerifyResult result;
  IoOptions io;
  const Index index = open(arguments.file, arguments.open);
  const double seconds = run_with_progress(io, [&] { result = verify(index, io); });
  const std::string file = printable(arguments.file.string());
  Manifest found;
  if (!arguments.manifest.empty() || !arguments.new_manifest.empty()) found = manifest_of(index);
  if (!arguments.manifest.empty()) compare(file, read_manifest(arguments.manifest), found);
  if (result.checked_nbytes || !result.unchecked_nbytes) {
    std::cout << fmt::format("{}: {} of tensors match their checksums, {}\n", file,
                             human_bytes(result.checked_nbytes),
                             human_rate(result.checked_nbytes, seconds));
  }
  if (result.unchecked_nbytes) {
    std::cout << fmt::format(
        "{}: {} of tensors have no checksums and were not compared; use --manifest\n", file,
        human_bytes(result.unchecked_nbytes));
  }
  if (!arguments.manifest.empty()) {
    std::cout << fmt::format("{}: {} tensors match {}; other values are not compared\n", file,
                             found.size(), printable(arguments.manifest.string()));
  }
  if (!arguments.new_manifest.empty()) {
    write_manifest(arguments.new_manifest, found);
    std::cout << fmt::format("{}: wrote dtype, shape and SHA-256 of {} tensors\n",
                             printable(arguments.new_manifest.string()), found.size());
  }
}

}  // namespace transload::cli
