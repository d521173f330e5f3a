// Facts: torch/serialization.py of PyTorch 2.13, _save and _load; docs/formats/torch_zip.md.
#include "pickle/torch_storages.h"

#include <charconv>
#include <vector>

#include "transload/error.h"
#include "types/checked.h"

namespace transload {
namespace {

std::string storage_named(std::string_view key) { return "storage \"" + std::string(key) + "\""; }

}  // namespace

TorchStorages::TorchStorages(NodeTable& nodes, Index& index, PersistentIds ids)
    : nodes_(nodes), index_(index), ids_(ids), first_(index.storages.size()) {
  for (std::uint32_t i = 0; i < index.locations.size(); ++i)
    location_numbers_.try_emplace(index.locations[i], i);
}

std::uint32_t TorchStorages::location_number(NodeId location) {
  if (location == last_location_) return last_location_number_;
  const std::string text(nodes_.as_text(location));
  const auto next = static_cast<std::uint32_t>(index_.locations.size());
  const auto [at, is_new] = location_numbers_.try_emplace(text, next);
  if (is_new) index_.locations.push_back(text);
  last_location_ = location;
  return last_location_number_ = at->second;
}

Dtype TorchStorages::dtype_of_class(NodeId storage_class, std::string_view key) {
  if (storage_class == last_class_) return last_dtype_;
  const std::string_view module = nodes_.module_of(storage_class),
                         name = nodes_.name_of(storage_class);
  const auto dtype = name == "UntypedStorage" ? Dtype::uint8 : dtype_from_storage_class(name);
  if (!dtype || (module != "torch" && module != "torch.storage" && module != "torch.cuda")) {
    throw FormatError(storage_named(key) + " is of class " + std::string(module) + "." +
                      std::string(name) + ", which is not a storage class of torch");
  }
  last_class_ = storage_class;
  return last_dtype_ = *dtype;
}

// The number of the storage with this key; of a new one, the next number.
std::uint32_t TorchStorages::number_of(std::string_view key) {
  const auto first = static_cast<std::uint32_t>(first_);
  const auto next = static_cast<std::uint32_t>(index_.storages.size());
  if (keys_are_numbers_) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
    const bool is_number = error == std::errc() && end == key.data() + key.size() &&
                           (key[0] != '0' || key.size() == 1);
    if (is_number && number <= next - first) return first + number;
    keys_are_numbers_ = false;
    numbers_.reserve(index_.storages.capacity());
    for (std::uint32_t i = first; i < next; ++i)
      numbers_.add(std::hash<std::string_view>()(index_.storages[i].key), i);
  }
  const auto is_it = [&](std::uint32_t known) { return index_.storages[known].key == key; };
  const auto* const known = numbers_.find_or_add(std::hash<std::string_view>()(key), is_it, next);
  return known ? *known : next;
}

NodeId TorchStorages::persistent(NodeId id) {
  const auto is = [&](NodeId node, ValueKind kind) { return nodes_.kind(node) == kind; };
  if (!is(id, ValueKind::tuple)) throw FormatError("the persistent id is not a tuple");
  const auto parts = nodes_.items(id);
  const auto says = [&](std::string_view word) {
    return !parts.empty() && is(parts[0], ValueKind::text) && nodes_.as_text(parts[0]) == word;
  };
  // The class is a name like any other: what may be done with it is judged when it is called.
  if (ids_ == PersistentIds::stream && parts.size() == 4 && says("module")) return parts[1];
  const bool has_last = parts.size() == 6 && ids_ != PersistentIds::zip;
  const bool is_view = has_last && is(parts[5], ValueKind::tuple) && ids_ == PersistentIds::stream;
  const bool has_none = has_last && is(parts[5], ValueKind::none);
  const bool has_five = parts.size() == 5 && ids_ != PersistentIds::stream;
  if ((!has_five && !is_view && !has_none) || !says("storage") ||
      !is(parts[1], ValueKind::global) || !is(parts[2], ValueKind::text) ||
      !is(parts[3], ValueKind::text) || !is(parts[4], ValueKind::integer)) {
    throw FormatError(
        "the persistent id is not (\"storage\", class, key, location, number of elements)");
  }
  const std::uint32_t number = add(parts);
  if (is_view) return view(parts, number);
  const auto numel = static_cast<std::uint64_t>(nodes_.as_integer(parts[4]));
  return nodes_.storage(number, index_.storages[number].dtype, numel);
}

// Returns the number of the storage that an id names, which is added if it is new.
std::uint32_t TorchStorages::add(std::span<const NodeId> id) {
  const std::string_view key = nodes_.as_text(id[2]);
  const Dtype dtype = dtype_of_class(id[1], key);
  const std::int64_t numel = nodes_.as_integer(id[4]);
  if (numel < 0)
    throw FormatError(storage_named(key) + " has a negative number of elements, " +
                      std::to_string(numel));
  const std::uint64_t nbytes =
      checked_mul(static_cast<std::uint64_t>(numel), itemsize(dtype), "a storage's size");
  const std::uint32_t number = number_of(key);
  if (number == index_.storages.size()) {
    index_.storages.push_back(
        {nbytes, location_number(id[3]), info(dtype).swap_nbytes, dtype, std::string(key)});
  }
  const StoredStorage& first = index_.storages[number];
  if (first.nbytes != nbytes || first.dtype != dtype) {
    throw FormatError(storage_named(key) + " is mentioned as " + std::string(name(dtype)) + " of " +
                      std::to_string(nbytes) + " bytes, but before as " +
                      std::string(name(first.dtype)) + " of " + std::to_string(first.nbytes));
  }
  return number;
}

// The part (view key, offset, size) of a storage. PyTorch 0.1.10 to 0.4.1.
NodeId TorchStorages::view(std::span<const NodeId> id, std::uint32_t root) {
  const auto parts = nodes_.items(id[5]);
  const auto is = [&](std::size_t i, ValueKind kind) { return nodes_.kind(parts[i]) == kind; };
  if (parts.size() != 3 || !is(0, ValueKind::text) || !is(1, ValueKind::integer) ||
      !is(2, ValueKind::integer))
    throw FormatError("the last part of the persistent id is not (view key, offset, size)");
  const std::string key(nodes_.as_text(parts[0]));
  const std::int64_t offset = nodes_.as_integer(parts[1]), numel = nodes_.as_integer(parts[2]),
                     whole = nodes_.as_integer(id[4]);
  if (offset < 0 || numel < 0 || offset > whole || numel > whole - offset) {
    throw FormatError(storage_named(key) + " is " + std::to_string(numel) + " elements from " +
                      std::to_string(offset) + " on of a storage of " + std::to_string(whole));
  }
  const View made{kNoNode, root, static_cast<std::uint64_t>(offset),
                  static_cast<std::uint64_t>(numel)};
  if (const auto known = views_.find(key); known != views_.end()) {
    const View& first = known->second;
    if (first.root != made.root || first.offset != made.offset || first.numel != made.numel)
      throw FormatError(storage_named(key) + " is mentioned as two different parts of a storage");
    return first.node;
  }
  const NodeId node = nodes_.storage(root, index_.storages[root].dtype, made.numel);
  views_.emplace(key, View{node, made.root, made.offset, made.numel});
  view_offsets_[node] = made.offset;
  return node;
}

StorageView TorchStorages::view_of(NodeId storage) const {
  const StoredStorage& root = index_.storages[nodes_.storage_number(storage)];
  const auto offset = view_offsets_.find(storage);
  if (offset == view_offsets_.end()) return {0, root.nbytes};
  return {offset->second, nodes_.storage_numel(storage) * itemsize(root.dtype)};
}

void TorchStorages::check_views(const std::string& where) const {
  if (views_.empty()) return;
  for (std::size_t i = first_; i < index_.storages.size(); ++i) {
    const std::string& key = index_.storages[i].key;
    if (views_.contains(key))
      throw FormatError(where + ": " + storage_named(key) +
                        " is mentioned as a storage and as a part of one");
  }
  const std::vector<std::uint32_t> mentions = nodes_.mentions();
  for (const auto& [node, offset] : view_offsets_) {
    if (mentions[node] > 0) {
      throw UnsupportedError(where +
                             ": a part of a storage is a value of its own, which is not read: only "
                             "tensors over it are");
    }
  }
}

}  // namespace transload
