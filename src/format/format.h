// A format reads a file into an Index, and lays a StateDict out as files to be written. It never touches a tensor's bytes.
// A format is one file in this folder and its entry in formats.cc.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/opened.h"
#include "plan/layout.h"
#include "transload/index.h"
#include "transload/options.h"

namespace transload {

// What a layout depends on besides the state dict. All spans are by storage number.
struct LayoutOptions {
  std::string_view name;                   // of the file or folder to be written, without its path
  std::span<const std::string> locations;  // the tags to write: "cuda:0"; empty: on meta, no bytes
  std::span<const std::string>
      files{};                 // the file to write a storage to, for formats of several files
  bool compact = false;        // leave out bytes of storages that no tensor uses
  bool allow_objects = false;  // write inert objects of classes that are not plain data
  std::map<std::string, std::string> metadata{};
};

struct Format {
  std::string_view name;  // as `inspect` prints it and `convert --to` takes it
  // By content: the first bytes, or the members of a container. Formats are asked in the order of formats.cc.
  bool (*recognizes)(Opened&);
  // Reads everything but tensors' bytes. Throws FormatError, UnsupportedError, UnsafePickleError, IoError.
  Index (*read)(Opened&, const OpenOptions&);
  // Fixes every offset of the files to be written. Throws UnsupportedError if the format cannot hold the state dict.
  // Null: the format can only be read.
  Layout (*lay_out)(const StateDict&, const LayoutOptions&) = nullptr;
  // Returns the bytes that are known only after the pieces were written. crc32: of each piece, by number. Null: none.
  std::vector<Literal> (*seal)(const Layout&, std::span<const std::uint32_t> crc32) = nullptr;
  // Like read(), for a truncated or damaged file. Sets lost[s] to the reason that storage s cannot be recovered, or leaves
  // it empty: the bytes are there, and their checksum decides. Null: not supported.
  Index (*recover)(Opened&, const OpenOptions&, std::vector<std::string>& lost) = nullptr;
  bool is_folder = false;        // a save makes a folder of files
  bool is_tensors_only = false;  // it cannot hold other values
};

extern const Format kTorchZip, kTorchStream, kTorchTar, kSafetensors, kNpy, kNpz, kShards, kPickle;

// Storages without bytes for those of an index: each has an identity of its own, so that shared ones can be told.
std::vector<Storage> meta_storages(const Index& index);

// Returns the first format that recognizes the file. Throws FormatError that says what the file is instead.
const Format& format_of(Opened& opened);
// Reads a file as a format that recognizes it. An error about a damaged file says what happened to it, if that shows.
Index read_index(const Format& format, Opened& opened, const OpenOptions& options);
// Throws UnsupportedError that lists the names of the formats.
const Format& format_named(std::string_view name);
// All formats, in the order in which they are asked.
std::vector<FormatInfo> list_formats();

}  // namespace transload
