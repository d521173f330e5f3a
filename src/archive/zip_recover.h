// Members of a zip archive whose directory is gone, or cannot be believed, by their local headers.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "archive/zip_read.h"

namespace transload {

class ZipSearch {
 public:
  // How long a stored member is, by its name without the folder; nothing: that is not known.
  using LengthFunction = std::function<std::optional<std::uint64_t>(const std::string&)>;

  // Reads the first nbytes of the file once, in windows; not the bytes of members whose length is known.
  explicit ZipSearch(const File& file, std::uint64_t nbytes = ~0ull,
                     const LengthFunction& length_of = {});

  // A member of a known length, by its name without the folder; null, and why, if it is not whole. Its checksum, if there
  // is one, is not compared yet.
  ZipMember* find(const std::string& name, std::uint64_t nbytes, std::string& why_not);
  // A member of unknown length: its bytes up to the next header, at most most_nbytes; empty if it is not there. Throws
  // FormatError if it is there and does not inflate.
  std::string text(const std::string& name, std::uint64_t most_nbytes);

 private:
  struct Header {
    std::string name;  // with its folder
    std::uint64_t offset, data_offset;
    std::uint16_t flags, method;
    std::uint32_t crc32, stored_nbytes, nbytes;
  };

  // What the local header says of a member, or else the descriptor behind its data; null if neither does.
  std::optional<ZipMember> deflated(const Header& header);

  const File& file_;
  std::deque<Header> headers_;  // in the order of the file
  std::map<std::string, const Header*> by_name_;
  std::deque<ZipMember> found_;
  std::uint64_t searched_nbytes_ = 0;  // for descriptors
};

}  // namespace transload
