// Reading one tensor, or a part of it: an Index of that tensor alone ► load_into().
#include "transload/lazy_tensor.h"

#include "transload/transload.h"

#include <vector>

#include "transload/error.h"
#include "values/node_table.h"

namespace transload {
namespace {

// An index of one tensor. It takes the pieces of one storage, so the cost does not grow with the
// number of tensors.
Index index_of_one(const Index& index, const Tensor& meta, std::uint32_t storage_number) {
  Index one;
  one.format = index.format;
  one.files = index.files;
  one.locations = index.locations;
  one.storages.push_back(index.storages[storage_number]);
  for (const Piece& piece : index.pieces_of(storage_number)) {
    one.pieces.push_back(piece);
    one.pieces.back().storage = 0;
  }
  one.contents.set("tensor", meta);
  return one;
}

constexpr std::uint32_t kUnused = 0xFFFFFFFF;

// Numbers the storages below a value from 0 on: the old number of each, and for each old one the
// new.
struct UsedStorages {
  std::vector<std::uint32_t> old_numbers, new_numbers;
};

UsedStorages used_below(const NodeTable& nodes, NodeId root, std::size_t storage_count) {
  UsedStorages used{{}, std::vector<std::uint32_t>(storage_count, kUnused)};
  std::vector<bool> seen(nodes.size());
  std::vector<NodeId> todo{root};
  while (!todo.empty()) {
    const NodeId node = todo.back();
    todo.pop_back();
    if (node == kNoNode || seen[node]) continue;
    seen[node] = true;
    const auto below = nodes.below(node);
    todo.insert(todo.end(), below.begin(), below.end());
    todo.push_back(nodes.attributes(node));
    const ValueKind kind = nodes.kind(node);
    if (kind != ValueKind::tensor && kind != ValueKind::storage) continue;
    const std::uint32_t number = nodes.storage_number(node);
    if (number == Value::kNoStorage || used.new_numbers[number] != kUnused) continue;
    used.new_numbers[number] = static_cast<std::uint32_t>(used.old_numbers.size());
    used.old_numbers.push_back(number);
  }
  return used;
}

}  // namespace

LazyTensor::LazyTensor(const std::shared_ptr<const Index>& index, const Value& value)
    : index_(index), meta_(value.tensor()), storage_number_(value.storage_number()) {
  location_ = storage_number_ == Value::kNoStorage
                  ? "meta"
                  : index->locations[index->storages[storage_number_].location];
}

LazyTensor LazyTensor::slice(std::span<const Subscript> subscripts) const {
  LazyTensor part = *this;
  part.meta_ = transload::slice(meta_, subscripts);
  return part;
}

LazyTensor LazyTensor::slice(std::initializer_list<Subscript> subscripts) const {
  return slice(std::span(subscripts.begin(), subscripts.size()));
}

Tensor LazyTensor::read(Device device, const IoOptions& io) const {
  const bool has_bytes = storage_number_ != Value::kNoStorage;
  Tensor made = empty(meta_.shape(), meta_.dtype(), has_bytes ? device : kMeta);
  read_into(made, io);
  return made;
}

void LazyTensor::read_into(const Tensor& live, const IoOptions& io) const {
  const std::shared_ptr<const Index> index = index_.lock();
  if (!index) throw Error("the checkpoint that this tensor is in was closed");
  if (!(live.shape() == meta_.shape())) {
    throw MismatchError("a tensor of shape " + live.shape().str() + " cannot take one of shape " +
                        meta_.shape().str());
  }
  const bool is_meta = live.device().kind == DeviceKind::meta;  // where nothing is kept
  if (storage_number_ == Value::kNoStorage || meta_.numel() == 0 || is_meta) return;
  StateDict target;
  target.set("tensor", live);
  load_into(target, index_of_one(*index, meta_, storage_number_), {.io = io});
}

Index index_below(const Index& index, const Value& root) {
  const NodeTable& nodes = index.contents.nodes();
  const UsedStorages used = used_below(nodes, root.id(), index.storages.size());
  Index part;
  part.format = index.format;
  part.files = index.files;
  part.locations = index.locations;
  part.metadata = index.metadata;
  part.metadata_members = index.metadata_members;
  std::vector<Storage> storages;
  for (const std::uint32_t number : used.old_numbers) {
    const auto new_number = static_cast<std::uint32_t>(part.storages.size());
    part.storages.push_back(index.storages[number]);
    storages.push_back(index.contents.storages()[number]);
    for (const Piece& piece : index.pieces_of(number)) {
      part.pieces.push_back(piece);
      part.pieces.back().storage = new_number;
    }
  }
  const auto copied = std::make_shared<NodeTable>();
  copied->root = copied->copy(nodes, root.id(), used.new_numbers);
  part.contents = StateDict(copied, std::move(storages));
  return part;
}

}  // namespace transload
