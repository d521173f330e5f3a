// Files: read and written at any offset by any thread, every short or failed call an IoError that says where.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "transload/index.h"

struct iovec;

namespace transload {

// Opens for reading. Throws IoError; UnsupportedError for a folder, pipe or device.
File open_file(const std::filesystem::path& path);

// Bytes of a file as one of its own, as an archive in an archive; `name` is added to the path.
File part_of(const File& file, std::uint64_t begin, std::uint64_t nbytes, const std::string& name);
// Bytes in memory as a file.
File file_of(std::string_view bytes, const std::filesystem::path& path);

// Fills `bytes` from `offset` on. IoError, with both, if the file ends before: "cut short".
void read_at(const File& file, std::uint64_t offset, std::span<std::byte> bytes);
std::string read_text(const File& file, std::uint64_t offset, std::uint64_t nbytes);

// The same into several places one after the other. Changes `parts`.
void read_parts(const File& file, std::uint64_t offset, std::span<iovec> parts);

// Throws IoError if one was written to since it was opened. A file that took its place does not count: it is another one.
void require_unchanged(std::span<const File> files);

// Has the disk fetch what will be read soon, while something else is. The kernel's own guess fails where several threads
// read one descriptor. A wish: what fails is found by the read.
void will_read(const File& file, std::uint64_t offset, std::uint64_t nbytes);

// All of a file as memory, private to this process: what is written to it stays there. Read from disk when it is first
// looked at; a file that is truncated meanwhile ends the process, as of any mapping.
Storage map_file(const File& file);

void write_at(int descriptor, const std::filesystem::path& path, std::uint64_t offset,
              std::span<const std::byte> bytes);

}  // namespace transload
