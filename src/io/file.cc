#include "io/file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "transload/error.h"

namespace transload {
namespace {

[[noreturn]] void fail(const std::string& name, const std::string& what, int error_number) {
  throw IoError(name + ": " + what + ": " + std::strerror(error_number), error_number);
}

}  // namespace

void read_at(const File& file, std::uint64_t offset, std::span<std::byte> bytes) {
  file.source->read(offset, {&bytes, 1});
}

std::string read_text(const File& file, std::uint64_t offset, std::uint64_t nbytes) {
  const std::uint64_t there = file.nbytes();
  if (offset > there || nbytes > there - offset) {
    throw IoError(file.name + ": offset " + std::to_string(offset) + ": expected " +
                      std::to_string(nbytes) + " bytes, but the file ends at " +
                      std::to_string(there),
                  0);
  }
  std::string text(nbytes, '\0');
  read_at(file, offset, std::as_writable_bytes(std::span(text)));
  return text;
}

void require_unchanged(std::span<const File> files) {
  for (const File& file : files) file.source->require_unchanged();
}

Storage map_file(const File& file) {
  const std::uint64_t nbytes = file.nbytes();
  if (nbytes == 0) return Storage(kCpu, nullptr, 0, std::make_shared<char>());
  const Descriptor descriptor = file.source->descriptor();
  if (descriptor.number < 0)
    throw IoError(file.name + ": cannot be mapped: it is not a file on disk", 0);
  // A mapping begins at a page.
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const std::uint64_t before = descriptor.begin % page;
  void* const mapped = mmap(nullptr, before + nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE,
                            descriptor.number, static_cast<off_t>(descriptor.begin - before));
  if (mapped == MAP_FAILED) fail(file.name, "cannot be mapped", errno);
  auto* const data = static_cast<std::byte*>(mapped) + before;
  const auto unmap = [nbytes, before](void* first) {
    munmap(static_cast<std::byte*>(first) - before, before + nbytes);
  };
  return Storage(kCpu, data, nbytes, std::shared_ptr<void>(data, unmap));
}

void write_at(int descriptor, const std::string& name, std::uint64_t offset,
              std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0)
      fail(name,
           "writing " + std::to_string(bytes.size()) + " bytes at offset " + std::to_string(offset),
           errno);
    offset += static_cast<std::uint64_t>(done);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

}  // namespace transload
