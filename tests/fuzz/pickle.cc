// The pickle reader with PyTorch's names. What it reads is written and read again as the same. What it reads with
// refuse_objects, the scanner judges harmless.
#include <cstdio>

#include "pickle/reader.h"
#include "pickle/rebuild.h"
#include "pickle/writer.h"
#include "scan/pickle_scan.h"
#include "values/node_table.h"

namespace transload {
namespace {

constexpr std::uint64_t kMaxNbytes = 1 << 20;  // that a storage claims: there are no bytes

struct Pickle {
  Index index;
  StateDict state;
};

Pickle read(std::span<const std::byte> bytes, const OpenOptions& options = {}) {
  Pickle pickle;
  const auto nodes = std::make_shared<NodeTable>();
  const std::string where = "fuzz";
  TorchObjects objects(*nodes, pickle.index, options, where);
  nodes->root = read_pickle(bytes, *nodes, objects, where).root;
  std::vector<Storage> storages;
  for (const StoredStorage& storage : pickle.index.storages)
    storages.emplace_back(kMeta, nullptr, storage.nbytes, std::make_shared<char>());
  pickle.state = StateDict(nodes, std::move(storages));
  return pickle;
}

[[noreturn]] void fail(const std::string& what) {
  std::fwrite(what.data(), 1, what.size(), stderr);
  std::abort();
}

void write_and_read_again(const Pickle& pickle) {
  std::vector<StorageRecord> records;
  for (const StoredStorage& storage : pickle.index.storages) {
    if (storage.nbytes > kMaxNbytes) return;
    records.push_back(
        {storage.key, pickle.index.locations[storage.location], 0, storage.nbytes, storage.dtype});
  }
  std::string written;
  try {
    written = write_pickle(pickle.state, records, true);
  } catch (const Error&) {
    return;
  }
  const std::string before = str(pickle.state.root()),
                    after = str(read(std::as_bytes(std::span(written))).state.root());
  if (before != after) fail("read:    " + before + "\nwritten: " + after);
}

void compare_with_scan(std::span<const std::byte> bytes) {
  const PickleScan scan = scan_pickle(bytes, "");
  if (!scan.broken.empty())
    fail("the reader reads it, but the scanner calls it broken: " + scan.broken);
  try {
    read(bytes, {.refuse_objects = true});
  } catch (const Error&) {
    return;
  }
  for (const PickleUse& use : scan.uses) {
    const bool is_call = use.how != PickleUse::How::mention;
    if (is_call && use.verdict == Verdict::runs_code)
      fail("the reader calls it plain data, but the scanner says that it runs " + use.name);
  }
}

}  // namespace
}  // namespace transload

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t nbytes) {
  using namespace transload;
  const auto bytes = std::as_bytes(std::span(data, nbytes));
  Pickle pickle;
  try {
    pickle = read(bytes);
  } catch (const Error&) {
    return 0;
  }
  compare_with_scan(bytes);
  write_and_read_again(pickle);
  return 0;
}
