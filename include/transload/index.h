// Index: what a checkpoint holds and where its bytes lie, before any of them is read.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "transload/source.h"
#include "transload/state_dict.h"

namespace transload {

// Bytes in one of an Index's files.
struct Extent {
  std::uint32_t file;  // number in Index::files
  std::uint64_t offset, nbytes;
};

enum class Encoding : std::uint8_t { as_is, deflated };

// Elements in a different order on both sides, as nested loops. The dimensions are in the order that walks the source
// forwards. Strides are in elements; origins in bytes from the start of the source and of the target.
struct Box {
  Dims shape, source_stride, target_stride;
  std::uint64_t source_origin, target_origin;
};

// Where bytes of a storage lie in a file. Most storages are one piece; a tensor of a distributed checkpoint is one piece
// for each block that a rank saved. When a file is laid out, pieces say where bytes will be written.
struct Piece {
  std::uint32_t storage;  // number in Index::storages
  std::uint64_t
      byte_offset;  // of the piece's first byte in the storage; 0 with a box, which has its own origins
  std::uint64_t nbytes;  // of the piece, decoded
  Extent extent;         // the bytes as stored in the file
  Encoding encoding = Encoding::as_is;
  std::optional<std::uint32_t> crc32{};  // of the whole piece, decoded
  // The order of the piece's elements in the storage: from the file to the storage when reading, from the storage to
  // the file when writing. Null: the same order on both sides, without gaps.
  std::shared_ptr<const Box> box{};
  std::uint8_t itemsize = 1;         // bytes of one element, as the box counts them
  std::uint64_t skipped_nbytes = 0;  // decoded bytes of a deflated extent before the piece
};

// A member of a file that holds no storage's bytes: the pickle of the values, the byte order.
struct MetadataMember {
  std::string name;
  Extent extent;         // the bytes as stored in the file
  std::uint64_t nbytes;  // of the member, decoded
  Encoding encoding = Encoding::as_is;
  std::optional<std::uint32_t>
      crc32;  // as the file states it; empty: the file has no checksum of it
  std::optional<std::uint32_t>
      read_crc32;  // of the bytes that were read; empty: they were not needed
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
  std::string format;  // as list_formats() has it, or "torchscript"
  std::vector<File> files;
  std::vector<std::string> locations;            // "cuda:0": the tags saved with the storages
  std::vector<StoredStorage> storages;           // numbered as contents.storages()
  std::vector<Piece> pieces;                     // sorted by storage; see pieces_of()
  std::vector<MetadataMember> metadata_members;  // for verify(), which checks them too
  StateDict contents;                            // every tensor on meta
  std::map<std::string, std::string> metadata;   // __metadata__ of safetensors
  int pickle_protocol = 0;  // of the values' pickle; 0: they are not in a pickle

  // The pieces that a storage's bytes lie in; none if it has no bytes. O(log n).
  std::span<const Piece> pieces_of(std::uint32_t storage) const;
};

}  // namespace transload
