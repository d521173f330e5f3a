// Facts: torch/serialization.py of PyTorch 2.13, _save and _load; docs/formats/torch_zip.md.
#include "pickle/torch_storages.h"

#include <charconv>

#include "transload/error.h"
#include "types/checked.h"

namespace transload {
namespace {

std::string storage_named(std::string_view key) { return "storage \"" + std::string(key) + "\""; }

}  // namespace

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
  const auto next = static_cast<std::uint32_t>(index_.storages.size());
  if (keys_are_numbers_) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
    const bool is_number = error == std::errc() && end == key.data() + key.size() &&
                           (key[0] != '0' || key.size() == 1);
    if (is_number && number <= next) return number;
    keys_are_numbers_ = false;
    numbers_.reserve(index_.storages.capacity());
    for (std::uint32_t i = 0; i < next; ++i)
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
  if (parts.size() != 5 || !is(parts[0], ValueKind::text) ||
      nodes_.as_text(parts[0]) != "storage" || !is(parts[1], ValueKind::global) ||
      !is(parts[2], ValueKind::text) || !is(parts[3], ValueKind::text) ||
      !is(parts[4], ValueKind::integer)) {
    throw FormatError(
        "the persistent id is not (\"storage\", class, key, location, number of elements)");
  }
  const std::string_view key = nodes_.as_text(parts[2]);
  const Dtype dtype = dtype_of_class(parts[1], key);
  const std::int64_t numel = nodes_.as_integer(parts[4]);
  if (numel < 0)
    throw FormatError(storage_named(key) + " has a negative number of elements, " +
                      std::to_string(numel));
  const std::uint64_t nbytes =
      checked_mul(static_cast<std::uint64_t>(numel), itemsize(dtype), "a storage's size");
  const std::uint32_t number = number_of(key);
  if (number == index_.storages.size()) {
    index_.storages.push_back(
        {nbytes, location_number(parts[3]), info(dtype).swap_nbytes, dtype, std::string(key)});
  }
  const StoredStorage& first = index_.storages[number];
  if (first.nbytes != nbytes || first.dtype != dtype) {
    throw FormatError(storage_named(key) + " is mentioned as " + std::string(name(dtype)) + " of " +
                      std::to_string(nbytes) + " bytes, but before as " +
                      std::string(name(first.dtype)) + " of " + std::to_string(first.nbytes));
  }
  return nodes_.storage(number, dtype, static_cast<std::uint64_t>(numel));
}

}  // namespace transload
