// safetensors: a flat list of named tensors, and nothing else.
//
//   0      8 bytes   N, the header's length, little-endian
//   8      N bytes   JSON: {"__metadata__": {…}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
//   8 + N            the tensors' bytes, little-endian and row-major, one after the other without gaps
//
// Each tensor is a storage of its own. Tensors that were one when they were saved are recorded in the metadata, and
// are one again when read. Worked example and sources: docs/formats/safetensors.md.
#include <algorithm>
#include <map>

#include <rapidjson/document.h>

#include "format/safetensors.h"
#include "io/file.h"
#include "transload/error.h"
#include "types/checked.h"
#include "values/node_table.h"

namespace transload {
namespace safetensors {
namespace {

constexpr std::uint64_t kLengthNbytes = kSafetensorsLengthNbytes;

using Entry = SafetensorsHeader::Entry;

std::uint64_t header_nbytes(std::span<const std::byte> head) {
  std::uint64_t nbytes = 0;
  for (std::size_t i = kLengthNbytes; i-- > 0;)
    nbytes = nbytes << 8 | std::to_integer<std::uint64_t>(head[i]);
  return nbytes;
}

// A length that no text begins with, then JSON. read() checks the length.
bool recognizes(Opened& opened) {
  const auto head = std::as_bytes(std::span(opened.head()));
  if (head.size() <= kLengthNbytes || header_nbytes(head) >> 40 != 0) return false;
  const std::size_t first = opened.head().find_first_not_of(" \n\t", kLengthNbytes);
  return first != std::string_view::npos && opened.head()[first] == '{';
}

std::string read_header(const File& file) {
  const std::string path = file.name;
  if (file.nbytes() < kLengthNbytes)
    throw FormatError(path + ": " + std::to_string(file.nbytes()) +
                      " bytes; a safetensors file has 8 at least");
  const std::string length = read_text(file, 0, kLengthNbytes);
  const std::uint64_t nbytes = header_nbytes(std::as_bytes(std::span(length)));
  if (nbytes > kMaxHeaderNbytes) {
    throw FormatError(path + ": offset 0: a header of " + std::to_string(nbytes) +
                      " bytes, at most " + std::to_string(kMaxHeaderNbytes) + " are allowed");
  }
  if (nbytes > file.nbytes() - kLengthNbytes) {
    throw FormatError(path + ": offset 0: a header of " + std::to_string(nbytes) +
                      " bytes, the file has " + std::to_string(file.nbytes() - kLengthNbytes) +
                      " left: cut short, copy it again");
  }
  return read_text(file, kLengthNbytes, nbytes);
}

// Of a damaged file: bytes may be missing at its end, and some may belong to no tensor.
enum class State : std::uint8_t { whole, damaged };

// Every byte of a whole file belongs to one tensor: no holes, no overlaps, nothing behind the last.
void check_tiling(const SafetensorsHeader& header, std::uint64_t data_offset, const File& file,
                  State state) {
  std::vector<std::uint32_t> order(header.entries.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto range = [&](std::uint32_t i) {
    return std::pair(header.entries[i].begin, header.entries[i].end);
  };
  if (!std::ranges::is_sorted(order, {}, range)) std::ranges::sort(order, {}, range);
  const auto fail = [&](std::uint64_t at, const std::string& what) {
    throw FormatError(file.name + ": offset " + std::to_string(data_offset + at) + ": " + what);
  };
  std::uint64_t end = 0;
  const Entry* before = nullptr;
  for (const std::uint32_t i : order) {
    const Entry& entry = header.entries[i];
    const std::string name = "\"" + std::string(entry.name) + "\"";
    if (entry.begin > end && state == State::whole)
      fail(end,
           std::to_string(entry.begin - end) + " bytes that belong to no tensor, before " + name);
    if (entry.begin < end)
      fail(entry.begin, name + " begins inside of \"" + std::string(before->name) + "\"");
    end = entry.end;
    before = &entry;
  }
  if (state == State::damaged) return;
  const std::uint64_t there = file.nbytes() - data_offset;
  if (end > there) {
    const std::uint64_t whole = data_offset + end;
    fail(there, "the file ends here, after " + std::to_string(file.nbytes()) + " bytes of " +
                    std::to_string(whole) + ": " +
                    std::to_string(percent_missing(file.nbytes(), whole)) +
                    " % are missing, up to the end of \"" + std::string(before->name) +
                    "\". Copy it again, or write the intact tensors to another file with recover");
  }
  if (end < there)
    fail(end,
         std::to_string(there - end) +
             " bytes that belong to no tensor, at the end; recover writes a file without them");
}

// Why a tensor of a file with so many bytes of tensors is not there; empty if it is.
std::string why_lost(const Entry& entry, std::uint64_t there) {
  if (entry.end <= there) return "";
  const std::uint64_t left = there - std::min(entry.begin, there);
  return "the file ends after " + std::to_string(left) + " of its " +
         std::to_string(entry.end - entry.begin) + " bytes";
}

// Names that stand for a tensor saved under another name.
void restore_tied(NodeTable& nodes, Index& index, const std::string& path) {
  const auto text = index.metadata.find(kTied);
  if (text == index.metadata.end()) return;
  rapidjson::Document tied;
  tied.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(
      text->second.data(), text->second.size());
  const auto fail = [&](const std::string& what) {
    throw FormatError(path + ": metadata \"" + kTied + "\": " + what);
  };
  if (tied.HasParseError() || !tied.IsObject())
    fail("an object of names expected, found " + text->second.substr(0, 100));
  for (const auto& [alias, saved] : tied.GetObject()) {
    const std::string_view name(alias.GetString(), alias.GetStringLength());
    if (!saved.IsString())
      fail("\"" + std::string(name) + "\" is tied to something that is no name");
    const std::string_view other(saved.GetString(), saved.GetStringLength());
    const NodeId tensor = nodes.find(nodes.root, other);
    if (tensor == kNoNode)
      fail("\"" + std::string(name) + "\" is tied to \"" + std::string(other) +
           "\", which is not in the file");
    if (nodes.find(nodes.root, name) != kNoNode)
      fail("\"" + std::string(name) + "\" is in the file itself");
    nodes.set(nodes.root, nodes.text(name), tensor);
  }
  index.metadata.erase(text);
}

// lost: of a damaged file, by storage, why its bytes are not there.
Index read(Opened& opened, State state, std::vector<std::string>* lost) {
  Index index;
  index.format = "safetensors";
  index.files.push_back(opened.file());
  index.locations.push_back("cpu");
  const File& file = index.files[0];
  std::string text = read_header(file);
  const std::uint64_t data_offset = kLengthNbytes + text.size();
  SafetensorsHeader header = parse_safetensors_header(text, opened.name());
  check_tiling(header, data_offset, file, state);
  const std::uint64_t there = file.nbytes() - data_offset;

  const std::size_t count = header.entries.size();
  const auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::dict);
  index.storages.reserve(count);
  index.pieces.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Entry& entry = header.entries[i];
    const std::uint64_t nbytes = entry.end - entry.begin;
    TensorRow row;
    row.storage = i;
    row.dtype = entry.dtype;
    const auto shape = header.shape(entry);
    nodes->set(nodes->root, nodes->text(entry.name),
               nodes->tensor(row, shape, contiguous_strides(shape)));
    if (nodes->entries(nodes->root).size() !=
        2 * (std::size_t{i} + 1))  // an equal name was replaced
      throw FormatError(opened.name() + ": offset 8: the header has tensor \"" +
                        std::string(entry.name) + "\" twice");
    index.storages.push_back({nbytes, 0, 1, entry.dtype, std::string(entry.name)});
    if (lost) lost->push_back(why_lost(entry, there));
    if (nbytes > 0 && entry.end <= there)
      index.pieces.push_back({i, 0, nbytes, {0, data_offset + entry.begin, nbytes}});
  }
  index.metadata = std::move(header.metadata);
  restore_tied(*nodes, index, opened.name());
  index.contents = StateDict(nodes, meta_storages(index));
  return index;
}

Index read_whole(Opened& opened, const OpenOptions&) { return read(opened, State::whole, nullptr); }

Index recover(Opened& opened, const OpenOptions&, std::vector<std::string>& lost) {
  return read(opened, State::damaged, &lost);
}

}  // namespace
}  // namespace safetensors

const Format kSafetensors{.name = "safetensors",
                          .recognizes = safetensors::recognizes,
                          .read = safetensors::read_whole,
                          .lay_out = safetensors::lay_out,
                          .recover = safetensors::recover,
                          .is_tensors_only = true};

}  // namespace transload
