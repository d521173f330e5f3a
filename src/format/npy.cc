// NumPy's arrays: one in a file (.npy), or several in a zip archive (.npz), each a member of its own.
//
//   0    "\x93NUMPY"              magic
//   6    2 bytes                  version of the format, 1.0 to 3.0
//   8    2 bytes (1.0) or 4       the header's length, little-endian
//   10   the header               a Python dict: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
//   …    the elements             row-major, or column-major if fortran_order is True
//
// Arrays of Python objects are pickles; they are refused and never unpickled. The root of a .npy file is the tensor itself,
// that of a .npz file a dict by member name.
// Source: numpy/lib/_format_impl.py; docs/formats/npy.md.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "format/format.h"
#include "format/numpy_dtypes.h"
#include "io/crc32.h"
#include "io/file.h"
#include "transload/error.h"
#include "types/checked.h"
#include "values/node_table.h"

namespace transload {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kMaxHeaderNbytes = 1 << 16, kMostDimensions = 64;

struct Header {
  Dtype dtype = Dtype::float32;
  bool is_big_endian = false, is_fortran = false;
  std::vector<std::int64_t> shape;
  std::uint64_t nbytes = 0;  // of the header, magic included: the elements follow
};

// The dict of the header: the three keys that NumPy writes, in any order, and nothing else.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::string where) : text_(text), where_(std::move(where)) {}

  Header parse() {
    expect('{');
    while (!take('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr")
        set_dtype();
      else if (key == "fortran_order")
        header_.is_fortran = boolean();
      else if (key == "shape")
        set_shape();
      else
        fail("unknown key \"" + std::string(key) + "\"");
      seen_ |= key == "descr" ? 1u : key == "fortran_order" ? 2u : 4u;
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    if (seen_ != 7) fail("expected the keys descr, fortran_order and shape");
    return header_;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(where_ + "the header of the array: " + what);
  }

  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool take(char c) {
    skip_blanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail(std::string("expected '") + c + "' at byte " + std::to_string(at_));
  }
  std::string_view quoted() {
    const char quote = take('\'') ? '\'' : '"';
    if (quote == '"') expect('"');
    const std::size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) fail("a text without an end");
    const std::string_view text = text_.substr(at_, end - at_);
    at_ = end + 1;
    return text;
  }
  bool boolean() {
    skip_blanks();
    for (const auto& [word, value] : {std::pair("True", true), std::pair("False", false)}) {
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += std::strlen(word);
      return value;
    }
    fail("expected True or False for fortran_order");
  }

  void set_dtype() {
    skip_blanks();
    if (text_.substr(at_).starts_with("["))
      throw UnsupportedError(where_ + "an array of records, which is not a tensor");
    const std::string_view descr = quoted();
    const std::string_view type = descr.substr(std::min<std::size_t>(1, descr.size()));
    if (descr.find('O') != std::string_view::npos) {
      throw UnsafePickleError(where_ +
                              "an array of Python objects, which NumPy unpickles; it is not read");
    }
    const auto found = dtype_from_numpy(type);
    if (!found || std::string_view("<>|=").find(descr[0]) == descr.npos) {
      throw UnsupportedError(where_ + "dtype \"" + std::string(descr) +
                             "\", for which there is no dtype of tensors");
    }
    header_.dtype = *found;
    header_.is_big_endian = descr[0] == '>';
  }

  void set_shape() {
    expect('(');
    while (!take(')')) {
      skip_blanks();
      std::int64_t size = 0;
      const char* const begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), size);
      if (error != std::errc() || size < 0) fail("expected a size in shape");
      at_ += static_cast<std::size_t>(end - begin);
      header_.shape.push_back(size);
      if (header_.shape.size() > kMostDimensions) fail("more than 64 dimensions");
      if (!take(',')) {
        expect(')');
        break;
      }
    }
  }

  std::string_view text_;
  std::string where_;
  std::size_t at_ = 0;
  unsigned seen_ = 0;  // a bit for each key
  Header header_;
};

// Reads the header at the beginning of `bytes`, which may be the first part of an array only.
Header read_header(std::string_view bytes, const std::string& where) {
  if (!bytes.starts_with(kMagic) || bytes.size() < 12)
    throw FormatError(where + "expected the beginning of an array, \"\\x93NUMPY\"");
  const bool is_long = bytes[6] != '\1';
  if (bytes[6] < 1 || bytes[6] > 3) {
    throw UnsupportedError(where + "version " + std::to_string(bytes[6]) +
                           " of NumPy's format; expected 1 to 3");
  }
  std::uint32_t header_nbytes = 0;
  std::memcpy(&header_nbytes, bytes.data() + 8, is_long ? 4 : 2);
  const std::uint64_t begin = is_long ? 12 : 10;
  if (header_nbytes > bytes.size() - begin) {
    throw FormatError(where + "a header of " + std::to_string(header_nbytes) + " bytes, but only " +
                      std::to_string(bytes.size() - begin) +
                      " bytes are there (the file is truncated, or the header too long)");
  }
  Header header = HeaderParser(bytes.substr(begin, header_nbytes), where).parse();
  header.nbytes = begin + header_nbytes;
  return header;
}

std::uint64_t elements_nbytes(const Header& header) {
  std::uint64_t nbytes = itemsize(header.dtype);
  for (const std::int64_t size : header.shape)
    nbytes = checked_mul(nbytes, static_cast<std::uint64_t>(size), "the array's size");
  return nbytes;
}

Dims strides(const Header& header) {
  if (!header.is_fortran) return contiguous_strides(header.shape);
  const std::vector<std::int64_t> reversed(header.shape.rbegin(), header.shape.rend());
  const Dims row_major = contiguous_strides(reversed);
  std::vector<std::int64_t> strides(row_major.begin(), row_major.end());
  std::ranges::reverse(strides);
  return strides;
}

// Adds an array to the index as a storage of its own. `piece` says where its elements lie. Returns the tensor's node.
NodeId add_array(Index& index, NodeTable& nodes, const Header& header, const std::string& key,
                 Piece piece) {
  const auto number = static_cast<std::uint32_t>(index.storages.size());
  const auto swap_nbytes = header.is_big_endian ? info(header.dtype).swap_nbytes : std::uint8_t{1};
  index.storages.push_back({piece.nbytes, 0, swap_nbytes, header.dtype, key});
  piece.storage = number;
  if (piece.nbytes > 0) index.pieces.push_back(std::move(piece));
  TensorRow row;
  row.storage = number;
  row.dtype = header.dtype;
  const Dims stride = strides(header);
  return nodes.tensor(row, header.shape, {stride.begin(), stride.size()});
}

// ---- one array ----

bool recognizes_npy(Opened& opened) { return opened.head().starts_with(kMagic); }

Index read_npy(Opened& opened, const OpenOptions&) {
  const std::string where = opened.name() + ": ";
  const Header header =
      read_header(read_text(opened.file(), 0, std::min(opened.nbytes(), kMaxHeaderNbytes)), where);
  const std::uint64_t nbytes = elements_nbytes(header);
  if (nbytes != opened.nbytes() - header.nbytes) {
    throw FormatError(where + "the array needs " + std::to_string(nbytes) + " bytes at offset " +
                      std::to_string(header.nbytes) + ", but " +
                      std::to_string(opened.nbytes() - header.nbytes) + " bytes are there" +
                      (nbytes > opened.nbytes() - header.nbytes ? " (the file is truncated)" : ""));
  }
  Index index;
  index.format = "npy";
  index.files.push_back(opened.file());
  index.locations.push_back("cpu");
  const auto nodes = std::make_shared<NodeTable>();
  nodes->root =
      add_array(index, *nodes, header, "array", {0, 0, nbytes, {0, header.nbytes, nbytes}});
  index.contents = StateDict(nodes, meta_storages(index));
  return index;
}

// ---- several, in a zip archive ----

constexpr std::string_view kSuffix = ".npy";

bool recognizes_npz(Opened& opened) {
  ZipContainer* const zip = opened.zip();
  return zip && !zip->members().empty() && std::ranges::all_of(zip->members(), [](const Member& m) {
           return m.name.ends_with(kSuffix);
         });
}

// A stored array lies in the file behind its header. The CRC-32 of its elements follows from that of the member and that
// of the header.
Piece piece_of(const Member& member, std::string_view header, std::uint64_t nbytes) {
  const std::uint64_t skipped = header.size();
  Piece piece{0, 0, nbytes, {0, member.data_offset, member.stored_nbytes}, member.encoding};
  if (member.crc32) {
    const std::uint32_t before = crc32_of(std::as_bytes(std::span(header)));
    piece.crc32 = member.crc32 ^ crc32_joined(before, 0, nbytes);
  }
  if (member.encoding == Encoding::as_is)
    piece.extent = {0, member.data_offset + skipped, nbytes};
  else
    piece.skipped_nbytes = skipped;
  return piece;
}

Index read_npz(Opened& opened, const OpenOptions&) {
  ZipContainer& zip = *opened.zip();
  std::vector<Member*> members;
  for (Member& member : zip.members()) members.push_back(&member);
  zip.locate(members);
  for (const Oddity& oddity : zip.oddities()) {
    if (oddity.readers_differ)
      throw FormatError(opened.name() + ": offset " + std::to_string(oddity.offset) + ": " +
                        oddity.text);
  }
  Index index;
  index.format = "npz";
  index.files.push_back(opened.file());
  index.locations.push_back("cpu");
  const auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::dict);
  for (const Member* const member : members) {
    const std::string where = opened.name() + ": " + label_of(*member) + ": ";
    const std::string head = read_first(opened.file(), *member, kMaxHeaderNbytes);
    const Header header = read_header(head, where);
    const std::uint64_t nbytes = elements_nbytes(header);
    if (nbytes != member->nbytes - header.nbytes) {
      throw FormatError(where + "the array needs " + std::to_string(nbytes) +
                        " bytes, but the member has " +
                        std::to_string(member->nbytes - header.nbytes));
    }
    const std::string key(member->name.substr(0, member->name.size() - kSuffix.size()));
    const NodeId key_node = nodes->text(key);
    nodes->set(
        nodes->root, key_node,
        add_array(index, *nodes, header, key,
                  piece_of(*member, std::string_view(head).substr(0, header.nbytes), nbytes)));
  }
  index.contents = StateDict(nodes, meta_storages(index));
  return index;
}

}  // namespace

const Format kNpy{"npy", recognizes_npy, read_npy};
const Format kNpz{"npz", recognizes_npz, read_npz};

}  // namespace transload
