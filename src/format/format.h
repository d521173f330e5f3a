// A format reads a file into an Index, and lays a StateDict out as an Index of a file to be written. It never
// touches a tensor's bytes. A format is one file here and its entry in formats.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
#include "plan/layout.h"
#include "transload/transload.h"

namespace transload {

// The beginning of a file, for recognising it.
struct Probe {
  const std::string& name;
  std::span<const std::byte> head;  // the first 1024 bytes, or all of a shorter file
  std::uint64_t nbytes;             // of the file
};

struct Format {
  std::string_view name;             // as `inspect` prints it and `convert --to` takes it
  bool (*recognizes)(const Probe&);  // by its first bytes, never by the file's suffix
  Index (*read)(const std::filesystem::path&, const OpenOptions&);  // all but tensors' bytes
  // The state dict's tensors keep their storages' numbers; `tags` has the location of each to be written, empty for
  // one without bytes. `name` is the file's. Null: only read.
  Layout (*lay_out)(const StateDict&, std::span<const std::string> tags, std::string_view name,
                    const SaveOptions&);
  // What is only known once the bytes were written: more literals. crc32: of each piece, by number. Null: nothing.
  std::vector<Literal> (*seal)(const Layout&, std::span<const std::uint32_t> crc32);
  // Compares with its checksums what read() did read, and is no tensor's. Throws FormatError. Null: there are none.
  void (*verify_texts)(const File&) = nullptr;
  // As read(), of a file that is cut short or damaged: `lost` says of each storage why it is not there; empty: it is, as
  // far as its checksum says. Null: what cannot be read is lost.
  Index (*salvage)(const std::filesystem::path&, const OpenOptions&,
                   std::vector<std::string>& lost) = nullptr;
  // Several files of other formats, which convert() writes one by one.
  bool is_folder = false;
};

extern const Format kTorchZip, kSafetensors, kShards;

// Storages without bytes for what an index has: each with an identity of its own, so that what shares one can be seen to.
std::vector<Storage> meta_storages(const Index& index);

// The format of a file: the first that recognises it. Throws FormatError that says what the file is.
const Format& format_of(const std::filesystem::path& path);
const Format& format_of(const File& file);
const Format& format_named(std::string_view name);  // UnsupportedError has the names there are

// Compares with its checksums what of the files is no tensor's: the values above all.
void verify_texts(const Index& index);

}  // namespace transload
