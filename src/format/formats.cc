// The list of formats.
#include "format/causes.h"
#include "format/format.h"
#include "transload/error.h"

namespace transload {
namespace {

// The first that recognizes a file reads it, so the strictest come first.
const Format* const kFormats[] = {&kNpz,         &kTorchZip, &kTorchStream, &kTorchTar,
                                  &kSafetensors, &kNpy,      &kShards,      &kPickle};

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
  throw FormatError(opened.name() + ": " + cause_of(opened));
}

Index read_index(const Format& format, Opened& opened, const OpenOptions& options) {
  try {
    return format.read(opened, options);
  } catch (FormatError& error) {
    if (!format.is_folder) {
      const std::string cause = cause_of_damage(opened.file());
      if (!cause.empty()) error.add(cause);
    }
    throw;
  }
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
