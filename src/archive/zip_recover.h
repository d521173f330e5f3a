// Members of a zip archive whose directory is missing or damaged, found by their local headers.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "archive/container.h"
#include "archive/zip_records.h"

namespace transload {

// Reads the file once, in windows, for local headers. The first member's folder is taken for that of all: what looks like
// a header within a tensor's bytes has another.
class ZipSearch {
 public:
  // Returns the length of a stored member by its name without the folder; empty if it is not known. With it, a member's
  // bytes are not searched for headers.
  using LengthFunction = std::function<std::optional<std::uint64_t>(const std::string&)>;

  // Searches the first nbytes of the file. `file` must outlive the search.
  explicit ZipSearch(const File& file, std::uint64_t nbytes = ~0ull,
                     const LengthFunction& length_of = {});

  // Finds a member of a known length by its name without the folder. Returns null and sets why_not if not all of its bytes
  // are there. The caller compares its checksum.
  Member* find(const std::string& name, std::uint64_t nbytes, std::string& why_not);

  // Returns the bytes of a member of unknown length: up to the next header, at most most_nbytes; empty if it is not there.
  // Throws FormatError if it is deflated and damaged.
  std::string text(const std::string& name, std::uint64_t most_nbytes);

 private:
  struct Header {
    std::string name;  // with its folder
    std::uint64_t offset, data_offset;
    zip::LocalHeader local;  // its name is not kept
  };

  void search_window(const std::string& window, std::uint64_t begin, std::uint64_t& next,
                     const LengthFunction& length_of);
  std::optional<Member> deflated(const Header& header);
  Member* found(const Member& member);
  Member* find_stored(const Header& header, std::uint64_t nbytes, std::string& why_not);

  const File& file_;
  std::string folder_;          // with its '/'
  std::deque<Header> headers_;  // in the order of the file
  std::map<std::string, const Header*> by_name_;
  std::deque<Member> found_;
  std::uint64_t searched_nbytes_ = 0;  // for descriptors
};

}  // namespace transload
