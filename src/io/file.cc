#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "transload/error.h"

namespace transload {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what,
                       int error_number) {
  throw IoError(path.string() + ": " + what + ": " + std::strerror(error_number), error_number);
}

[[noreturn]] void cut_short(const File& file, std::uint64_t offset, std::uint64_t nbytes) {
  struct stat now;
  const auto there =
      fstat(*file.descriptor, &now) == 0 ? static_cast<std::uint64_t>(now.st_size) : 0;
  std::string text = file.path.string() + ": offset " + std::to_string(offset) + ": " +
                     std::to_string(nbytes) + " bytes are expected here, the file ends at " +
                     std::to_string(there);
  if (there < file.nbytes)
    text += "; it was " + std::to_string(file.nbytes) + " bytes long when it was opened";
  throw IoError(text, 0);
}

std::int64_t written_ns(const struct stat& about) {
  return std::int64_t{about.st_mtim.tv_sec} * 1'000'000'000 + about.st_mtim.tv_nsec;
}

std::shared_ptr<const int> owned(int descriptor) {
  return {new int(descriptor), [](const int* d) {
            ::close(*d);
            delete d;
          }};
}

}  // namespace

File part_of(const File& file, std::uint64_t begin, std::uint64_t nbytes, const std::string& name) {
  File part = file;
  part.path += name;
  part.begin += begin;
  part.nbytes = nbytes;
  return part;
}

File file_of(std::string_view bytes, const std::filesystem::path& path) {
  const int descriptor = memfd_create("transload", MFD_CLOEXEC);
  if (descriptor < 0) fail(path, "no memory for what is in it", errno);
  File file{path, bytes.size(), owned(descriptor)};
  write_at(descriptor, path, 0, std::as_bytes(std::span(bytes)));
  struct stat about;
  if (fstat(descriptor, &about) != 0) fail(path, "cannot be examined", errno);
  file.written_ns = written_ns(about);
  return file;
}

File open_file(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail(path, "cannot be opened", errno);
  File file{path, 0, owned(descriptor)};
  struct stat about;
  if (fstat(descriptor, &about) != 0) fail(path, "cannot be examined", errno);
  if (S_ISDIR(about.st_mode))
    throw UnsupportedError(path.string() + ": is a folder, a file is expected");
  if (!S_ISREG(about.st_mode)) {
    throw UnsupportedError(
        path.string() +
        ": is a pipe or device; only a file can be read at any place. Copy it to one");
  }
  file.nbytes = static_cast<std::uint64_t>(about.st_size);
  file.written_ns = written_ns(about);
  return file;
}

void read_at(const File& file, std::uint64_t offset, std::span<std::byte> bytes) {
  iovec part{bytes.data(), bytes.size()};
  read_parts(file, offset, {&part, 1});
}

void read_parts(const File& file, std::uint64_t offset, std::span<iovec> parts) {
  constexpr std::size_t kMaxParts = 1024;  // IOV_MAX of Linux
  while (!parts.empty()) {
    if (parts[0].iov_len == 0) {
      parts = parts.subspan(1);
      continue;
    }
    const auto count = static_cast<int>(std::min(parts.size(), kMaxParts));
    const ssize_t got =
        preadv(*file.descriptor, parts.data(), count, static_cast<off_t>(file.begin + offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(file.path, "reading at offset " + std::to_string(offset) + " failed", errno);
    if (got == 0) cut_short(file, offset, parts[0].iov_len);
    offset += static_cast<std::uint64_t>(got);
    auto left = static_cast<std::size_t>(got);
    while (left >= parts[0].iov_len) {
      left -= parts[0].iov_len;
      parts = parts.subspan(1);
      if (parts.empty()) return;
    }
    parts[0].iov_base = static_cast<char*>(parts[0].iov_base) + left;
    parts[0].iov_len -= left;
  }
}

void require_unchanged(std::span<const File> files) {
  for (const File& file : files) {
    struct stat now;
    if (fstat(*file.descriptor, &now) != 0) fail(file.path, "cannot be examined", errno);
    if (written_ns(now) == file.written_ns &&
        (file.begin || static_cast<std::uint64_t>(now.st_size) == file.nbytes))
      continue;
    throw IoError(file.path.string() +
                      ": was written to after it had been opened: what was read may be of two "
                      "files; open it again. Programs that save should write beside it and rename",
                  0);
  }
}

void will_read(const File& file, std::uint64_t offset, std::uint64_t nbytes) {
  // One byte of the end tells whether the rest is in memory: to have the kernel look at each page costs as much as
  // copying some of them.
  char last;
  const iovec probe{&last, 1};
  const auto begin = static_cast<off_t>(file.begin + offset);
  const auto length = static_cast<off_t>(nbytes);
  if (preadv2(*file.descriptor, &probe, 1, begin + length - 1, RWF_NOWAIT) == 1) return;
  posix_fadvise(*file.descriptor, begin, length, POSIX_FADV_WILLNEED);
}

std::string read_text(const File& file, std::uint64_t offset, std::uint64_t nbytes) {
  if (offset > file.nbytes || nbytes > file.nbytes - offset) cut_short(file, offset, nbytes);
  std::string text(nbytes, '\0');
  read_at(file, offset, std::as_writable_bytes(std::span(text)));
  return text;
}

Storage map_file(const File& file) {
  if (file.nbytes == 0) return Storage(kCpu, nullptr, 0, std::make_shared<char>());
  void* const data =
      mmap(nullptr, file.nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, *file.descriptor, 0);
  if (data == MAP_FAILED) fail(file.path, "cannot be mapped", errno);
  return Storage(
      kCpu, static_cast<std::byte*>(data), file.nbytes,
      std::shared_ptr<void>(data, [nbytes = file.nbytes](void* all) { munmap(all, nbytes); }));
}

void write_at(int descriptor, const std::filesystem::path& path, std::uint64_t offset,
              std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0)
      fail(path,
           "writing " + std::to_string(bytes.size()) + " bytes at offset " + std::to_string(offset),
           errno);
    offset += static_cast<std::uint64_t>(done);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

}  // namespace transload
