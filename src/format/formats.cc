// The list of formats, and a diagnosis of files that none of them recognizes.
#include <algorithm>

#include "format/format.h"
#include "transload/error.h"

namespace transload {
namespace {

// The first that recognizes a file reads it, so the strictest come first.
const Format* const kFormats[] = {&kNpz, &kTorchZip, &kSafetensors, &kNpy, &kShards};

// Files that people pass instead of a model, by the bytes at an offset, and the way out.
struct Other {
  std::string_view bytes, diagnosis;
  std::size_t offset = 0;
};
constexpr Other kOthers[] = {
    {"version https://git-lfs",
     "this is a git-lfs pointer, not the file it stands for; run 'git lfs pull'"},
    {"<!DOCTYPE", "this is a web page, not a model: a download that went wrong"},
    {"<!doctype", "this is a web page, not a model: a download that went wrong"},
    {"<html", "this is a web page, not a model: a download that went wrong"},
    {"<?xml", "this is XML, not a model: the answer of a server that had no file, perhaps"},
    {"\x1F\x8B", "this is gzip; unpack it first"},
    {"7z\xBC\xAF", "this is 7z; unpack it first"},
    {"\xFD"
     "7zXZ",
     "this is xz; unpack it first"},
    {"BZh", "this is bzip2; unpack it first"},
    {"\x28\xB5\x2F\xFD", "this is zstd; unpack it first"},
    {"Rar!", "this is rar; unpack it first"},
    {"ustar",
     "this is a tar; unpack it first. (PyTorch before 0.1.10 saved models as tar: load it with "
     "PyTorch 2.5 or older, and save it again)",
     257},
    {"GGUF", "this is GGUF, a format of llama.cpp, which is not read"},
    {"\x89HDF", "this is HDF5, as Keras saves models, which is not read"},
    {"\x80\x02\x8A\x0A\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19\x2E",
     "this is PyTorch's legacy stream (before 1.6, or saved with "
     "_use_new_zipfile_serialization=False), which is not read yet; save it again: "
     "torch.save(torch.load(path, map_location=\"cpu\"), new_path)"},
    {"\x80",
     "this is a bare pickle, not a file of torch.save; if it is the .metadata of a "
     "torch.distributed.checkpoint, python -m torch.distributed.checkpoint.format_utils "
     "dcp_to_torch FOLDER FILE makes it one"},
};

std::string diagnose(std::string_view head, std::uint64_t nbytes) {
  if (nbytes == 0) return "the file is empty (an interrupted save or download)";
  for (const Other& other : kOthers) {
    if (head.size() > other.offset && head.substr(other.offset).starts_with(other.bytes))
      return std::string(other.diagnosis);
  }
  if (nbytes < 9) {
    return "the file has only " + std::to_string(nbytes) +
           " bytes (an interrupted save or download, or not a model)";
  }
  return "this is neither a file of torch.save nor safetensors";
}

}  // namespace

std::vector<Storage> meta_storages(const Index& index) {
  // Addresses inside one block.
  const auto identities = std::make_shared<std::vector<char>>(index.storages.size());
  std::vector<Storage> storages;
  storages.reserve(index.storages.size());
  for (std::size_t i = 0; i < index.storages.size(); ++i)
    storages.emplace_back(kMeta, nullptr, index.storages[i].nbytes,
                          std::shared_ptr<void>(identities, identities->data() + i));
  return storages;
}

const Format& format_of(Opened& opened) {
  for (const Format* format : kFormats) {
    if (format->recognizes(opened)) return *format;
  }
  throw FormatError(opened.name() + ": " + diagnose(opened.head(), opened.nbytes()));
}

const Format& format_named(std::string_view name) {
  std::string names;
  for (const Format* format : kFormats) {
    if (format->name == name) return *format;
    names += (names.empty() ? "" : ", ") + std::string(format->name);
  }
  throw UnsupportedError("unknown format \"" + std::string(name) + "\"; the formats are " + names);
}

std::vector<FormatInfo> list_formats() {
  std::vector<FormatInfo> all;
  for (const Format* format : kFormats)
    all.push_back({std::string(format->name), format->lay_out != nullptr});
  return all;
}

}  // namespace transload
