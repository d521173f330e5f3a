// Container: the named members of a source, and what is odd about them. Zip and tar archives
// are containers. A container knows no tensor: formats read its members, the scanner judges them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "transload/index.h"
#include "transload/source.h"

namespace transload {

struct Member {
  std::string_view name;  // with its folder; a view into memory of the container
  std::uint64_t header_offset;
  std::uint64_t data_offset;  // 0 until Container::locate(): of the stored bytes
  std::uint64_t stored_nbytes, nbytes;
  std::uint32_t crc32 = 0;  // of the decoded bytes; 0: the container has no checksum of them
  Encoding encoding = Encoding::as_is;
};

// Something that no writer of models does.
struct Oddity {
  std::uint64_t offset;  // in the container's file
  std::string text;
  // Two readers of the same file can see different contents: the file is refused. Otherwise it is only worth saying.
  bool readers_differ;
};

// Reads what it is asked for: the directory when it is opened, the rest on demand. For one thread at a time.
class Container {
 public:
  explicit Container(const File& file) : file_(file) {}
  virtual ~Container() = default;
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  virtual std::string_view kind() const = 0;  // "zip", "tar"
  const File& file() const { return file_; }

  // In the order of the directory.
  std::span<Member> members() { return members_; }
  // Found so far: in the directory, in the local headers of members that were located, or by examine().
  std::span<const Oddity> oddities() const { return oddities_; }
  // Why the container cannot be read to its end, with path and offset; empty: it can.
  const std::string& damage() const { return damage_; }

  // Finds where the bytes of these members begin. Throws FormatError if one has no header where the directory says, or
  // if it reaches beyond the end of the file.
  virtual void locate(std::span<Member* const> members) = 0;

  // Looks at everything else, for oddities: the headers of all members, the bytes between and behind them. Returns the
  // members that the directory does not mention.
  virtual std::vector<Member> examine() { return {}; }

  // Returns the decoded bytes of a member. Throws FormatError if it has more than max_nbytes or is damaged.
  std::string read(Member& member, std::uint64_t max_nbytes);

  // From now on, keeps the bytes of the largest member that read() returns: one who looks at all members need not read it
  // again.
  void keep_largest_read() { keeps_largest_ = true; }
  // The kept bytes, if they are those of this member; empty otherwise. They are kept no longer.
  std::optional<std::string> take_kept(const Member& member);

 protected:
  void add_oddity(std::uint64_t offset, std::string text, bool readers_differ = true);
  [[noreturn]] void fail(std::uint64_t offset, const std::string& what) const;

  File file_;
  std::vector<Member> members_;
  std::vector<Oddity> oddities_;
  std::string damage_;

 private:
  bool keeps_largest_ = false;
  std::string kept_;
  std::uint64_t kept_offset_ = 0;  // of the member's data; 0: none is kept
};

// 'member "model/data.pkl"', for messages.
std::string label_of(const Member& member);

// Returns all bytes of a member that was located, decoded. Throws FormatError if they do not decode to their size.
std::string read_member(const File& file, const Member& member);

// Returns the first decoded bytes of a member that was located: at most most_nbytes, or as many as it has. Its stated size
// is not believed: a deflated member that is damaged, or larger than it says, gives what could be decoded.
std::string read_first(const File& file, const Member& member, std::uint64_t most_nbytes);

}  // namespace transload
