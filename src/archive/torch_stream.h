// The container of PyTorch 0.1.10 to 1.5: five pickles, then the bytes of the storages, one after the other.
//
//   magic_number       pickle of 0x1950A86A20F9469CFC6C
//   protocol_version   pickle of 1001
//   sys_info           pickle of a dict: the byte order and C types of the machine that saved
//   data.pkl           pickle of the values; tensors mention their storages by key
//   keys               pickle of a list: the keys of the storages
//   data/KEY, …        for each key the number of elements (8 bytes, little-endian), then the elements, little-endian
//
// There is no index. Where a pickle ends is known when it was read; how long a storage is, when the values were: they name its
// dtype. The names of the members are ours, after those of the zip file.
// Sources: torch/serialization.py, _legacy_save and _legacy_load; torch/csrc/generic/serialization.cpp, writeFileRaw;
// docs/formats/torch_stream.md.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "archive/container.h"

namespace transload {

class TorchStream final : public Container {
 public:
  // Reads the pickles. If one of them is damaged or not what it should be, the members before it are there, and damage() says
  // why.
  explicit TorchStream(const File& file);

  std::string_view kind() const override { return "torch_stream"; }
  void locate(std::span<Member* const>) override {}  // known from the start

  // The pickle of the values; empty if it could not be read.
  const std::string& values() const { return values_; }
  std::uint64_t values_offset() const { return values_offset_; }

  // As the values say of a storage.
  struct Size {
    std::uint64_t numel, nbytes;
  };
  // What became of a key of the list.
  struct Storage {
    std::string key;
    std::uint64_t offset = 0;  // of the elements
    std::string fault{};       // why its bytes cannot be read; empty: they are there
  };
  // Follows the storages through the file and adds each whole one as a member. size_of: of a key, nothing if the values do
  // not mention it. Call it once.
  void add_storages(const std::function<std::optional<Size>(const std::string& key)>& size_of);
  std::span<const Storage> storages() const { return storages_; }
  // Behind the last storage, or as far as the file can be followed. More than the file has if it is truncated.
  std::uint64_t end_offset() const { return end_; }

 private:
  void read_pickles();
  std::string add_pickle(const char* name);
  void read_keys(const std::string& pickle);
  void check_size(Storage& storage, const Size& size);
  [[noreturn]] void fail_at(std::uint64_t offset, const std::string& what) const;

  std::string values_;
  std::uint64_t values_offset_ = 0, end_ = 0;
  std::vector<Storage> storages_;
  std::deque<std::string> names_;
};

// Whether a file begins with the pickle of the magic number, in any protocol that PyTorch writes.
bool is_torch_stream(std::string_view head);

}  // namespace transload
