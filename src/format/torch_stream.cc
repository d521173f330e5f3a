// PyTorch's legacy stream: 0.1.10 to 1.5, and torch.save(…, _use_new_zipfile_serialization=False) ever since. Read only.
//
// archive/torch_stream.h has the layout. The pickle of the values says how many elements of which dtype each storage has; with
// that the container finds where the storages lie. The elements are little-endian on any machine.
//
// Sources: torch/serialization.py, _legacy_load; docs/formats/torch_stream.md.
#include "archive/torch_stream.h"

#include <algorithm>
#include <map>

#include "format/format.h"
#include "pickle/rebuild.h"
#include "transload/error.h"
#include "values/modules.h"

namespace transload {
namespace {

class StreamReader {
 public:
  StreamReader(Opened& opened, const OpenOptions& options)
      : name_(opened.name()), options_(options), stream_(opened.file()) {
    index_.format = "torch_stream";
    index_.files.push_back(opened.file());
  }

  // Throws FormatError at the first storage that is not whole.
  Index read() {
    if (!stream_.damage().empty()) throw FormatError(stream_.damage());
    read_values();
    const std::vector<std::string> faults = find_storages();
    for (const std::string& fault : faults) {
      if (!fault.empty()) throw_damaged(fault);
    }
    for (const auto& storage : stream_.storages()) {
      if (!storage.fault.empty()) throw_damaged(storage.fault);
    }
    return finish();
  }

  // Sets the fault of each storage instead.
  Index recover(std::vector<std::string>& lost) {
    if (stream_.values().empty()) {
      FormatError error(stream_.damage());
      error.add("the values, which list the tensors, are not whole; nothing can be recovered");
      throw error;
    }
    read_values();
    lost = find_storages();
    return finish();
  }

 private:
  void read_values() {
    const std::string where =
        name_ + ": the values, a pickle at offset " + std::to_string(stream_.values_offset());
    const std::string& pickle = stream_.values();
    nodes_->reserve_for_pickle(pickle.size());
    TorchObjects objects(*nodes_, index_, options_, where, PersistentIds::stream);
    nodes_->root = read_pickle(std::as_bytes(std::span(pickle)), *nodes_, objects, where).root;
    objects.check_views();
  }

  // Returns by storage why its bytes are not there; empty if they are.
  std::vector<std::string> find_storages() {
    std::map<std::string_view, std::uint32_t> numbers;
    for (std::uint32_t i = 0; i < index_.storages.size(); ++i)
      numbers.emplace(index_.storages[i].key, i);
    stream_.add_storages([&](const std::string& key) -> std::optional<TorchStream::Size> {
      const auto found = numbers.find(key);
      if (found == numbers.end()) return std::nullopt;
      const StoredStorage& storage = index_.storages[found->second];
      return TorchStream::Size{storage.nbytes / itemsize(storage.dtype), storage.nbytes};
    });
    std::vector<std::string> faults;
    for (const StoredStorage& storage : index_.storages) {
      faults.push_back("storage \"" + storage.key +
                       "\" is mentioned by the values, but is not in the list of storages");
    }
    for (const TorchStream::Storage& listed : stream_.storages()) {
      const auto found = numbers.find(listed.key);
      if (found == numbers.end()) continue;
      faults[found->second] = listed.fault;
      if (!listed.fault.empty()) continue;
      StoredStorage& storage = index_.storages[found->second];
      storage.swap_nbytes = 1;
      if (storage.nbytes > 0) {
        index_.pieces.push_back(
            {found->second, 0, storage.nbytes, {0, listed.offset, storage.nbytes}});
      }
    }
    std::ranges::sort(index_.pieces, {}, &Piece::storage);
    return faults;
  }

  [[noreturn]] void throw_damaged(const std::string& fault) const {
    FormatError error(name_ + ": " + fault);
    if (!stream_.damage().empty()) {
      error.add(stream_.damage().substr(name_.size() + 2) +
                ". Copy it again, or write the intact tensors to another file with recover");
    }
    throw error;
  }

  Index finish() {
    add_state_dicts(*nodes_);
    index_.contents = StateDict(nodes_, meta_storages(index_));
    return std::move(index_);
  }

  const std::string& name_;
  const OpenOptions& options_;
  TorchStream stream_;
  Index index_;
  const std::shared_ptr<NodeTable> nodes_ = std::make_shared<NodeTable>();
};

bool recognizes(Opened& opened) { return is_torch_stream(opened.head()); }

Index read(Opened& opened, const OpenOptions& options) {
  return StreamReader(opened, options).read();
}

Index recover(Opened& opened, const OpenOptions& options, std::vector<std::string>& lost) {
  return StreamReader(opened, options).recover(lost);
}

}  // namespace

const Format kTorchStream{"torch_stream", recognizes, read, nullptr, nullptr, recover};

}  // namespace transload
