// Reading a File: whole ranges, texts, and a mapping of it. All errors are IoErrors with name and offset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "transload/source.h"
#include "transload/tensor.h"

namespace transload {

// Fills `bytes` from `offset` on. Throws IoError if the file ends before.
void read_at(const File& file, std::uint64_t offset, std::span<std::byte> bytes);

// Returns nbytes from `offset` on. Throws IoError, before it allocates, if the file ends before.
std::string read_text(const File& file, std::uint64_t offset, std::uint64_t nbytes);

// Throws IoError if one of the files was written to since it was opened. Another file that took its path does not count.
void require_unchanged(std::span<const File> files);

// Maps all bytes of a file, private to this process: writes to the memory stay there. Pages are read when they are first
// touched; if the file is truncated meanwhile, touching them ends the process with SIGBUS. Throws IoError if the source
// has no descriptor.
Storage map_file(const File& file);

// Writes all of `bytes` at `offset`. Throws IoError that names `name`.
void write_at(int descriptor, const std::string& name, std::uint64_t offset,
              std::span<const std::byte> bytes);

}  // namespace transload
