// The formats there are, and what a file is that none of them recognises.
#include <algorithm>
#include <array>

#include "format/format.h"
#include "types/checked.h"

namespace transload {
namespace {

constexpr std::size_t kHeadNbytes = 1024;

// The first that recognises a file reads it, so the strictest come first.
const Format* const kFormats[] = {&kTorchZip, &kSafetensors, &kShards};

// What people hand over instead of a model, by its first bytes, and what to do.
struct Other {
  std::string_view begin, what;
  std::size_t at = 0;
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
    {"\x93NUMPY", "this is an array of NumPy's, not a model; numpy.load opens it"},
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
  if (nbytes == 0) return "the file is empty: a save or a download that broke off";
  for (const Other& other : kOthers) {
    if (head.size() > other.at && head.substr(other.at).starts_with(other.begin))
      return std::string(other.what);
  }
  if (nbytes < 9)
    return "a file of " + std::to_string(nbytes) +
           " bytes: a save or a download that broke off, or no model";
  return "neither a file of torch.save nor safetensors";
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

const Format& format_of(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return kShards;
  return format_of(open_file(path));
}

const Format& format_of(const File& file) {
  std::array<std::byte, kHeadNbytes> head;
  const auto nbytes = static_cast<std::size_t>(std::min<std::uint64_t>(file.nbytes(), kHeadNbytes));
  read_at(file, 0, std::span(head).first(nbytes));
  const Probe probe{file.name, std::span<const std::byte>(head).first(nbytes), file.nbytes()};
  for (const Format* format : kFormats) {
    if (format->recognizes(probe)) return *format;
  }
  const std::string_view text(reinterpret_cast<const char*>(head.data()), nbytes);
  throw FormatError(file.name + ": " + diagnose(text, file.nbytes()));
}

const Format& format_named(std::string_view name) {
  std::string names;
  for (const Format* format : kFormats) {
    if (format->name == name) return *format;
    names += (names.empty() ? "" : ", ") + std::string(format->name);
  }
  throw UnsupportedError("no format is called \"" + std::string(name) + "\"; there are " + names);
}

std::vector<std::pair<std::string, bool>> formats() {
  std::vector<std::pair<std::string, bool>> all;
  for (const Format* format : kFormats)
    all.emplace_back(format->name, format->lay_out != nullptr || format->is_folder);
  return all;
}

void verify_texts(const Index& index) {
  for (const File& file : index.files) {
    const Format& format = format_of(file);
    if (format.verify_texts) format.verify_texts(file);
  }
}

Index open(const std::filesystem::path& path, const OpenOptions& options) {
  return format_of(path).read(path, options);
}

}  // namespace transload
