#include "archive/torch_stream.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "io/file.h"
#include "pickle/whole_pickle.h"
#include "transload/error.h"
#include "types/checked.h"

namespace transload {
namespace {

constexpr std::string_view kMagic = "\x8A\x0A\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19\x2E";
constexpr std::int64_t kProtocolVersion = 1001;
constexpr std::uint64_t kNumelNbytes = 8;

std::string at_offset(std::uint64_t offset) { return "offset " + std::to_string(offset) + ": "; }

}  // namespace

bool is_torch_stream(std::string_view head) {
  constexpr std::size_t kProto = 2, kFrame = 9;  // bytes of PROTO and FRAME before the number
  if (!head.starts_with("\x80") || head.size() < kProto) return false;
  head.remove_prefix(kProto);
  if (head.starts_with("\x95")) head.remove_prefix(std::min(kFrame, head.size()));
  return head.starts_with(kMagic);
}

TorchStream::TorchStream(const File& file) : Container(file) {
  try {
    read_pickles();
  } catch (const FormatError& error) {
    damage_ = error.what();
  }
}

void TorchStream::fail_at(std::uint64_t offset, const std::string& what) const {
  throw FormatError(file_.name + ": " + at_offset(offset) + what);
}

// Adds the pickle that begins where the last one ended as a member and returns its bytes.
std::string TorchStream::add_pickle(const char* name) {
  std::string bytes = read_whole_pickle(file_, end_, file_.nbytes(), name);
  members_.push_back({name, end_, end_, bytes.size(), bytes.size()});
  end_ += bytes.size();
  return bytes;
}

void TorchStream::read_pickles() {
  if (!is_torch_stream(read_text(file_, 0, std::min<std::uint64_t>(file_.nbytes(), 32))))
    fail_at(0, "expected the magic number of PyTorch's legacy stream");
  add_pickle("magic_number");

  NodeTable nodes;
  const std::uint64_t version_offset = end_;
  const std::string version = add_pickle("protocol_version");
  const NodeId number =
      read_plain_pickle(version, nodes, file_.name + ": the pickle of the protocol version");
  if (nodes.kind(number) != ValueKind::integer || nodes.as_integer(number) != kProtocolVersion) {
    fail_at(version_offset, "a legacy stream of another protocol version; expected 1001");
  }
  add_pickle("sys_info");  // the file is little-endian on any machine: PyTorch does not look at it
  values_offset_ = end_;
  values_ = add_pickle("data.pkl");
  read_keys(add_pickle("keys"));
}

void TorchStream::read_keys(const std::string& pickle) {
  const std::uint64_t offset = members_.back().header_offset;
  NodeTable nodes;
  const NodeId list = read_plain_pickle(pickle, nodes, file_.name + ": the list of storages");
  if (nodes.kind(list) != ValueKind::list) fail_at(offset, "the list of storages is not a list");
  std::set<std::string_view> seen;
  for (const NodeId key : nodes.items(list)) {
    if (nodes.kind(key) != ValueKind::text)
      fail_at(offset, "the list of storages has an item that is not a str");
    if (!seen.insert(nodes.as_text(key)).second)
      fail_at(offset, "storage \"" + std::string(nodes.as_text(key)) + "\" is listed twice");
    storages_.push_back({std::string(nodes.as_text(key))});
  }
}

// At storage.offset the number of elements should be, then the elements.
void TorchStream::check_size(Storage& storage, const Size& size) {
  const std::uint64_t begin = storage.offset - kNumelNbytes;
  if (end_ > file_.nbytes()) {
    const std::uint64_t left = file_.nbytes() - std::min(storage.offset, file_.nbytes());
    storage.fault = at_offset(storage.offset) + "storage \"" + storage.key + "\" needs " +
                    std::to_string(size.nbytes) + " bytes, but only " + std::to_string(left) +
                    " are left (the file is truncated)";
    return;
  }
  std::uint64_t numel = 0;
  const std::string text = read_text(file_, begin, kNumelNbytes);
  std::memcpy(&numel, text.data(), kNumelNbytes);
  if (numel != size.numel) {
    storage.fault = at_offset(begin) + "storage \"" + storage.key + "\" has " +
                    std::to_string(numel) + " elements, but the values say " +
                    std::to_string(size.numel);
  }
}

void TorchStream::add_storages(
    const std::function<std::optional<Size>(const std::string&)>& size_of) {
  std::string unknown;  // the first key that the values do not mention
  for (Storage& storage : storages_) {
    const std::optional<Size> size = size_of(storage.key);
    if (!size && unknown.empty()) unknown = storage.key;
    if (!unknown.empty()) {
      storage.fault = at_offset(end_) + "storage \"" + unknown +
                      "\" is listed, but the values do not mention it: how long it is, is not "
                      "known, nor where those behind it begin";
      continue;
    }
    storage.offset = checked_add(end_, kNumelNbytes, "the offset of a storage");
    end_ = checked_add(storage.offset, size->nbytes, "the offset of a storage");
    check_size(storage, *size);
    if (!storage.fault.empty()) continue;
    names_.push_back("data/" + storage.key);
    members_.push_back(
        {names_.back(), storage.offset - kNumelNbytes, storage.offset, size->nbytes, size->nbytes});
  }
  if (end_ > file_.nbytes() && damage_.empty()) {
    damage_ = file_.name + ": the file has " + std::to_string(file_.nbytes()) + " of " +
              std::to_string(end_) +
              " bytes: " + std::to_string(percent_missing(file_.nbytes(), end_)) + " % are missing";
  }
}

}  // namespace transload
