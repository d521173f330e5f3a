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

// What people hand over instead of a model, by its first bytes.
std::string diagnose(std::string_view head, std::uint64_t nbytes) {
  const auto begins = [&](std::string_view text) { return head.starts_with(text); };
  if (nbytes == 0) return "the file is empty: a save or a download that broke off";
  if (begins("version https://git-lfs"))
    return "this is a git-lfs pointer, not the file it stands for; run 'git lfs pull'";
  if (begins("<!DOCTYPE") || begins("<!doctype") || begins("<html"))
    return "this is a web page, not a model: a download that went wrong";
  if (begins("\x1F\x8B")) return "this is gzip; unpack it first";
  if (begins("7z\xBC\xAF")) return "this is 7z; unpack it first";
  if (begins(
          std::string_view("\x80\x02\x8A\x0A\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19\x2E", 15))) {
    return "this is PyTorch's legacy stream (before 1.6), which is not read yet; save it again "
           "with torch.save";
  }
  if (begins("\x80")) return "this is a bare pickle, not a file of torch.save";
  return "neither a file of torch.save nor safetensors";
}

}  // namespace

const Format& format_of(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return kShards;
  return format_of(open_file(path));
}

const Format& format_of(const File& file) {
  std::array<std::byte, kHeadNbytes> head;
  const auto nbytes = static_cast<std::size_t>(std::min<std::uint64_t>(file.nbytes, kHeadNbytes));
  read_at(file, 0, std::span(head).first(nbytes));
  const Probe probe{file.path, std::span<const std::byte>(head).first(nbytes), file.nbytes};
  for (const Format* format : kFormats) {
    if (format->recognizes(probe)) return *format;
  }
  const std::string_view text(reinterpret_cast<const char*>(head.data()), nbytes);
  throw FormatError(file.path.string() + ": " + diagnose(text, file.nbytes));
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
    all.emplace_back(format->name, format->lay_out != nullptr || format == &kShards);
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
