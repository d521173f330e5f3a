// The sources that come with the library: a file on disk, a part of another source, bytes in memory.
#include "transload/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "transload/error.h"

namespace transload {
namespace {

std::string at(const std::string& name, std::uint64_t offset) {
  return name + ": offset " + std::to_string(offset);
}

[[noreturn]] void fail(const std::string& where, const std::string& what, int error_number) {
  throw IoError(where + ": " + what + ": " + std::strerror(error_number), error_number);
}

std::uint64_t nbytes_of(std::span<const std::span<std::byte>> parts) {
  std::uint64_t nbytes = 0;
  for (const std::span<std::byte> part : parts) nbytes += part.size();
  return nbytes;
}

// Parts that are still to be filled, as the kernel takes them: at most kMost at a time.
class Unread {
 public:
  explicit Unread(std::span<const std::span<std::byte>> parts) : parts_(parts) { skip(0); }

  bool empty() const { return next_ == parts_.size(); }
  std::uint64_t nbytes() const { return nbytes_of(parts_.subspan(next_)) - done_; }

  std::span<iovec> vectors() {
    std::size_t count = 0;
    for (std::size_t i = next_; i < parts_.size() && count < kMost; ++i) {
      const std::span<std::byte> left = i == next_ ? parts_[i].subspan(done_) : parts_[i];
      vectors_[count++] = {left.data(), left.size()};
    }
    return std::span(vectors_).first(count);
  }

  void skip(std::size_t nbytes) {
    done_ += nbytes;
    while (next_ < parts_.size() && done_ >= parts_[next_].size()) done_ -= parts_[next_++].size();
  }

 private:
  static constexpr std::size_t kMost = 256;  // Linux allows 1024: IOV_MAX
  std::span<const std::span<std::byte>> parts_;
  std::size_t next_ = 0;  // the first part that is not full
  std::size_t done_ = 0;  // bytes of it that are filled
  std::array<iovec, kMost> vectors_;
};

// A regular file. It stays open as long as the source lives.
class LocalFile final : public Source {
 public:
  LocalFile(const std::filesystem::path& path, std::string name)
      : name_(std::move(name)),
        // Without O_NONBLOCK, opening a pipe would wait for a writer.
        descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (descriptor_ < 0) fail(name_, "cannot be opened", errno);
  }
  ~LocalFile() override { ::close(descriptor_); }
  LocalFile(const LocalFile&) = delete;
  LocalFile& operator=(const LocalFile&) = delete;

  void examine() {
    const struct stat status = status_now();
    if (S_ISDIR(status.st_mode))
      throw UnsupportedError(name_ + ": expected a file, found a folder");
    if (!S_ISREG(status.st_mode)) {
      throw UnsupportedError(name_ +
                             ": expected a file, found a pipe or device, which cannot be read at "
                             "any offset; copy its bytes to a file first");
    }
    nbytes_ = static_cast<std::uint64_t>(status.st_size);
    modified_ns_ = modified_ns(status);
  }

  std::uint64_t nbytes() const override { return nbytes_; }

  void read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) const override {
    for (Unread unread(parts); !unread.empty();) {
      const std::span<iovec> vectors = unread.vectors();
      const ssize_t got = preadv(descriptor_, vectors.data(), static_cast<int>(vectors.size()),
                                 static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(at(name_, offset), "cannot be read", errno);
      if (got == 0) fail_at_end(offset, unread.nbytes());
      offset += static_cast<std::uint64_t>(got);
      unread.skip(static_cast<std::size_t>(got));
    }
  }

  void prefetch(std::uint64_t offset, std::uint64_t nbytes) const override {
    if (nbytes == 0) return;
    // If the last byte is in memory, so is the rest, most likely: to have the kernel look at each page costs as much as
    // copying some of them.
    char last;
    const iovec probe{&last, 1};
    const auto end = static_cast<off_t>(offset + nbytes - 1);
    if (preadv2(descriptor_, &probe, 1, end, RWF_NOWAIT) == 1) return;
    posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(nbytes),
                  POSIX_FADV_WILLNEED);
  }

  void require_unchanged() const override {
    const struct stat now = status_now();
    if (modified_ns(now) == modified_ns_ && static_cast<std::uint64_t>(now.st_size) == nbytes_)
      return;
    throw IoError(name_ +
                      ": the file was written to while it was read, so its bytes may be a mixture "
                      "of two versions; open it again. Programs that save should write to another "
                      "file and rename it",
                  0);
  }

  Descriptor descriptor() const override { return {descriptor_, 0}; }

  std::uint64_t next_data(std::uint64_t offset) const override {
    const off_t found = lseek(descriptor_, static_cast<off_t>(offset), SEEK_DATA);
    if (found < 0) return errno == ENXIO ? nbytes_ : offset;
    return static_cast<std::uint64_t>(found);
  }

 private:
  static std::int64_t modified_ns(const struct stat& status) {
    return std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  }

  struct stat status_now() const {
    struct stat status;
    if (fstat(descriptor_, &status) != 0) fail(name_, "cannot be examined", errno);
    return status;
  }

  [[noreturn]] void fail_at_end(std::uint64_t offset, std::uint64_t nbytes) const {
    const auto there = static_cast<std::uint64_t>(status_now().st_size);
    std::string text = at(name_, offset) + ": expected " + std::to_string(nbytes) +
                       " bytes, but the file ends at " + std::to_string(there);
    if (there < nbytes_)
      text += "; it was " + std::to_string(nbytes_) + " bytes long when it was opened";
    throw IoError(text, 0);
  }

  std::string name_;
  int descriptor_;
  std::uint64_t nbytes_ = 0;
  std::int64_t modified_ns_ = 0;  // since 1970
};

void require_inside(const std::string& name, std::uint64_t nbytes, std::uint64_t offset,
                    std::uint64_t wanted) {
  if (offset <= nbytes && wanted <= nbytes - offset) return;
  throw IoError(at(name, offset) + ": expected " + std::to_string(wanted) +
                    " bytes, but it ends at " + std::to_string(nbytes),
                0);
}

class Part final : public Source {
 public:
  Part(std::shared_ptr<const Source> whole, std::string name, std::uint64_t begin,
       std::uint64_t nbytes)
      : whole_(std::move(whole)), name_(std::move(name)), begin_(begin), nbytes_(nbytes) {}

  std::uint64_t nbytes() const override { return nbytes_; }
  void read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) const override {
    require_inside(name_, nbytes_, offset, nbytes_of(parts));
    whole_->read(begin_ + offset, parts);
  }
  void prefetch(std::uint64_t offset, std::uint64_t nbytes) const override {
    whole_->prefetch(begin_ + offset, nbytes);
  }
  void require_unchanged() const override { whole_->require_unchanged(); }
  Descriptor descriptor() const override {
    const Descriptor whole = whole_->descriptor();
    return {whole.number, whole.begin + begin_};
  }
  std::uint64_t next_data(std::uint64_t offset) const override {
    return std::min(nbytes_, whole_->next_data(begin_ + offset) - begin_);
  }

 private:
  std::shared_ptr<const Source> whole_;
  std::string name_;
  std::uint64_t begin_, nbytes_;
};

class Memory final : public Source {
 public:
  Memory(std::string name, std::span<const std::byte> bytes, std::shared_ptr<const void> owner)
      : name_(std::move(name)), bytes_(bytes), owner_(std::move(owner)) {}

  std::uint64_t nbytes() const override { return bytes_.size(); }
  void read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) const override {
    require_inside(name_, bytes_.size(), offset, nbytes_of(parts));
    for (const std::span<std::byte> part : parts) {
      if (!part.empty()) std::memcpy(part.data(), bytes_.data() + offset, part.size());
      offset += part.size();
    }
  }

 private:
  std::string name_;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
};

}  // namespace

void Source::prefetch(std::uint64_t, std::uint64_t) const {}

File open_file(const std::filesystem::path& path) { return open_file(path, path.string()); }

File open_file(const std::filesystem::path& path, const std::string& name) {
  const auto file = std::make_shared<LocalFile>(path, name);
  file->examine();
  return {name, file};
}

File part_of(const File& file, std::uint64_t begin, std::uint64_t nbytes, std::string name) {
  require_inside(file.name, file.nbytes(), begin, nbytes);
  return {name, std::make_shared<Part>(file.source, name, begin, nbytes)};
}

File file_in_memory(std::string name, std::string bytes) {
  const auto owner = std::make_shared<const std::string>(std::move(bytes));
  return {name, std::make_shared<Memory>(name, std::as_bytes(std::span(*owner)), owner)};
}

File file_in_memory(std::string name, std::span<const std::byte> bytes,
                    std::shared_ptr<void> owner) {
  return {name, std::make_shared<Memory>(name, bytes, std::move(owner))};
}

}  // namespace transload
