// Index: what a checkpoint holds and where its bytes lie, before any of them is read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transload/state_dict.h"

namespace transload {

// A file that stays open: what is read later is what was opened, also if the name is replaced meanwhile.
struct File {
  std::filesystem::path path;
  std::uint64_t nbytes = 0;  // when it was opened
  std::shared_ptr<const int> descriptor;
  std::int64_t written_ns = 0;  // when it was written last, as of the opening: since 1970
  std::uint64_t begin = 0;      // of its bytes in what was opened; not 0: a part of a file
};

// Bytes in one of an Index's files.
struct Extent {
  std::uint32_t file;  // number in Index::files
  std::uint64_t offset, nbytes;
};

enum class Encoding : std::uint8_t { as_is, deflated };

// Where bytes of a storage lie in files. Most storages are one piece; a tensor of a distributed checkpoint has one for
// each box that a rank saved, whose rows are run_count runs of run_nbytes, run_stride apart in the storage.
struct Piece {
  std::uint32_t storage;      // number in Index::storages
  std::uint64_t byte_offset;  // of the first run, from the start of that storage
  std::uint64_t run_nbytes, run_count, run_stride;  // run_count 1: contiguous
  Extent extent;                                    // the bytes as stored
  Encoding encoding = Encoding::as_is;
  std::optional<std::uint32_t> crc32;  // of the whole piece, decoded
};

struct StoredStorage {
  std::uint64_t nbytes;
  std::uint32_t location;    // number in Index::locations
  std::uint8_t swap_nbytes;  // the unit to reverse if the file has the other byte order; else 1
  Dtype dtype;               // that it was saved as
  std::string key;           // what the file calls it
};

// Reading gives pieces that exist; laying out for a save, pieces still to be written.
struct Index {
  std::string format;  // "torch_zip", "torchscript", "safetensors", "shards"
  std::vector<File> files;
  std::vector<std::string> locations;           // "cuda:0": the tags saved with the storages
  std::vector<StoredStorage> storages;          // numbered as contents.storages()
  std::vector<Piece> pieces;                    // of one storage together, storages ascending
  StateDict contents;                           // every tensor on meta
  std::map<std::string, std::string> metadata;  // __metadata__ of safetensors
};

}  // namespace transload
