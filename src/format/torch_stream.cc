// PyTorch's legacy stream: 0.1.10 to 1.5, and torch.save(…, _use_new_zipfile_serialization=False) ever since. Read only.
//
// archive/torch_stream.h has the layout. The pickle of the values says how many elements of which dtype each storage has; with
// that the container finds where the storages lie. The elements are little-endian on any machine.
//
// Sources: torch/serialization.py, _legacy_load; docs/formats/torch_stream.md.
#include "format/torch_stream.h"

#include <algorithm>
#include <map>

#include "format/format.h"
#include "pickle/rebuild.h"
#include "transload/error.h"
#include "values/modules.h"

namespace transload {

void StreamReader::read() {
  if (!stream_.damage().empty()) throw FormatError(stream_.damage());
  read_values();
  const std::vector<std::string> faults = find_storages();
  for (const std::string& fault : faults) {
    if (!fault.empty()) throw_damaged(fault);
  }
  for (const auto& storage : stream_.storages()) {
    if (!storage.fault.empty()) throw_damaged(storage.fault);
  }
}

void StreamReader::recover(std::vector<std::string>& lost) {
  if (!stream_.damage().empty()) {
    FormatError error(stream_.damage());
    error.add("the values and the list of storages are not whole; nothing can be recovered");
    throw error;
  }
  read_values();
  lost = find_storages();
}

void StreamReader::read_values() {
  const std::string where =
      file_.name + ": the values, a pickle at offset " + std::to_string(stream_.values_offset());
  const std::string& pickle = stream_.values();
  if (nodes_.size() == 0) nodes_.reserve_for_pickle(pickle.size());
  TorchObjects objects(nodes_, index_, options_, where, PersistentIds::stream);
  nodes_.root = read_pickle(std::as_bytes(std::span(pickle)), nodes_, objects, where).root;
  objects.check_views();
}

// Returns by storage why its bytes are not there; empty if they are.
std::vector<std::string> StreamReader::find_storages() {
  std::map<std::string_view, std::uint32_t> numbers;
  for (std::uint32_t i = first_; i < index_.storages.size(); ++i)
    numbers.emplace(index_.storages[i].key, i);
  stream_.add_storages([&](const std::string& key) -> std::optional<TorchStream::Size> {
    const auto found = numbers.find(key);
    if (found == numbers.end()) return std::nullopt;
    const StoredStorage& storage = index_.storages[found->second];
    return TorchStream::Size{storage.nbytes / itemsize(storage.dtype), storage.nbytes};
  });
  std::vector<std::string> faults;
  for (std::uint32_t i = first_; i < index_.storages.size(); ++i) {
    index_.storages[i].swap_nbytes = 1;
    faults.push_back("storage \"" + index_.storages[i].key +
                     "\" is mentioned by the values, but is not in the list of storages");
  }
  std::vector<Piece> pieces;
  for (const TorchStream::Storage& listed : stream_.storages()) {
    const auto found = numbers.find(listed.key);
    if (found == numbers.end()) continue;
    const auto [key, number] = *found;
    faults[number - first_] = listed.fault;
    const std::uint64_t nbytes = index_.storages[number].nbytes;
    if (listed.fault.empty() && nbytes > 0)
      pieces.push_back({number, 0, nbytes, {number_, begin_ + listed.offset, nbytes}});
  }
  std::ranges::sort(pieces, {}, &Piece::storage);
  index_.pieces.insert(index_.pieces.end(), pieces.begin(), pieces.end());
  return faults;
}

void StreamReader::throw_damaged(const std::string& fault) const {
  FormatError error(file_.name + ": " + fault);
  if (!stream_.damage().empty()) {
    error.add(stream_.damage().substr(file_.name.size() + 2) +
              ". Copy it again, or write the intact tensors to another file with recover");
  }
  throw error;
}

namespace {

bool recognizes(Opened& opened) { return is_torch_stream(opened.head()); }

// `read` reads the stream: as it should be, or what is left of it.
template <class Read>
Index read_with(Opened& opened, const OpenOptions& options, const Read& read) {
  Index index;
  index.format = "torch_stream";
  index.files.push_back(opened.file());
  const auto nodes = std::make_shared<NodeTable>();
  StreamReader reader(opened.file(), 0, 0, *nodes, index, options);
  read(reader);
  add_state_dicts(*nodes);
  index.contents = StateDict(nodes, meta_storages(index));
  return index;
}

Index read(Opened& opened, const OpenOptions& options) {
  return read_with(opened, options, [](StreamReader& reader) { reader.read(); });
}

Index recover(Opened& opened, const OpenOptions& options, std::vector<std::string>& lost) {
  return read_with(opened, options, [&](StreamReader& reader) { reader.recover(lost); });
}

}  // namespace

const Format kTorchStream{"torch_stream", recognizes, read, nullptr, nullptr, recover};

}  // namespace transload
