// Source: bytes that can be read at any offset. A load reads from a file on disk unless it is given another source:
// a part of a file, bytes in memory, or a class of your own.
//
//   class Remote : public transload::Source { ... };
//   transload::StateDict state = transload::load(transload::File{"s3://b/m.pt", std::make_shared<Remote>(...)});
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace transload {

// A file of the operating system that holds a source's bytes.
struct Descriptor {
  int number = -1;          // owned by the source; -1: there is no such file
  std::uint64_t begin = 0;  // offset in that file of the source's first byte
};

// Bytes that can be read at any offset, by any number of threads at the same time. The size does not change while a
// source lives. An implementation throws IoError with the source's name and the offset; a short read is an IoError.
class Source {
 public:
  virtual ~Source() = default;

  virtual std::uint64_t nbytes() const = 0;

  // Fills `parts`, one after the other, with the bytes from `offset` on. Throws IoError if the source ends before.
  virtual void read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) const = 0;

  // Says that these bytes will be read soon, so that a disk can fetch them meanwhile. A hint: it never throws.
  virtual void prefetch(std::uint64_t offset, std::uint64_t nbytes) const;

  // Throws IoError if the bytes may be others than when the source was opened. Checked once after a load.
  virtual void require_unchanged() const {}

  // The file that holds the bytes, which allows mmap and reads past the page cache.
  virtual Descriptor descriptor() const { return {}; }

  // The first offset from `offset` on that may hold a byte other than zero; nbytes() if there is none. Holes of sparse
  // files are skipped this way.
  virtual std::uint64_t next_data(std::uint64_t offset) const { return offset; }
};

// A source and the name that errors call it by: for a file on disk, its path. What is read later is what was opened,
// even if another file takes the path meanwhile.
struct File {
  std::string name;
  std::shared_ptr<const Source> source;

  std::uint64_t nbytes() const { return source->nbytes(); }
};

// Opens a file for reading. Throws IoError if it cannot be opened; UnsupportedError for a folder, a pipe or a device.
// Errors call it by `name`.
File open_file(const std::filesystem::path& path);
File open_file(const std::filesystem::path& path, const std::string& name);

// A range of another file as a file of its own. Throws IoError if the range reaches beyond the end of `file`.
File part_of(const File& file, std::uint64_t begin, std::uint64_t nbytes, std::string name);

// Bytes in memory. The first takes over the bytes; the second borrows them: `owner` is kept alive until the last read.
File file_in_memory(std::string name, std::string bytes);
File file_in_memory(std::string name, std::span<const std::byte> bytes,
                    std::shared_ptr<void> owner);

}  // namespace transload
