// The table of nodes: see node_table.h. Small dicts are searched from front to back; large ones
// share one index over their entries.
#include "values/node_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "transload/error.h"
#include "values/node_copy.h"

namespace transload {
namespace {

constexpr std::uint32_t kLargeFrom = 9;  // entries
// The hash of a dict's entry in the index that all large dicts share.
constexpr std::size_t entry_hash(NodeId dict, std::size_t key_hash) {
  key_hash ^= dict + 0x9E3779B97F4A7C15ull + (key_hash << 6) + (key_hash >> 2);
  return key_hash * 0xFF51AFD7ED558CCDull;
}

}  // namespace

void NodeTable::reserve_for_pickle(std::size_t nbytes) {
  // A tensor takes 110 bytes or more, and makes 10 nodes and 20 references. Room that is not used
  // is never touched.
  const std::size_t tensors = nbytes / 100;
  nodes_.reserve(10 * tensors);
  refs_.reserve(20 * tensors);
  rows_.reserve(tensors);
  sizes_.reserve(2 * tensors);
  text_.reserve(nbytes / 2);
}

NodeId NodeTable::add(ValueKind kind, std::uint8_t tag, std::uint32_t count, std::uint64_t begin) {
  if (nodes_.size() >= kNoNode)
    throw FormatError(
        "one state dict has more than 4294967294 values, the most that are supported");
  nodes_.push_back({kind, tag, count, begin});
  return static_cast<NodeId>(nodes_.size() - 1);
}

NodeId NodeTable::add_text(ValueKind kind, std::string_view value) {
  if (value.size() > 0xFFFFFFFF)
    throw FormatError("a text of " + std::to_string(value.size()) +
                      " bytes; expected at most 4294967295");
  const std::uint64_t begin = text_.size();
  text_.append(value);
  return add(kind, 0, static_cast<std::uint32_t>(value.size()), begin);
}

NodeId NodeTable::big_integer(std::span<const std::byte> value) {
  // Drops bytes that only repeat the sign.
  const auto sign = [](std::byte b) { return (b & std::byte{0x80}) != std::byte{0}; };
  while (value.size() > 1) {
    const bool negative = sign(value[value.size() - 2]);
    if (value.back() != (negative ? std::byte{0xFF} : std::byte{0})) break;
    value = value.first(value.size() - 1);
  }
  if (value.size() <= 8) {
    std::int64_t small = !value.empty() && sign(value.back()) ? -1 : 0;
    std::memcpy(&small, value.data(), value.size());  // little-endian, as this machine
    return integer(small);
  }
  return add_text(ValueKind::big_integer,
                  {reinterpret_cast<const char*>(value.data()), value.size()});
}

NodeId NodeTable::real(double value) {
  return add(ValueKind::real, 0, 0, std::bit_cast<std::uint64_t>(value));
}

NodeId NodeTable::complex(double re, double im) {
  char both[16];
  std::memcpy(both, &re, 8);
  std::memcpy(both + 8, &im, 8);
  return add_text(ValueKind::complex, {both, sizeof both});
}

NodeId NodeTable::global(std::string_view module, std::string_view name) {
  std::string both(module);
  both += '\n';
  both += name;
  return add_text(ValueKind::global, both);
}

NodeId NodeTable::sequence(ValueKind kind, std::span<const NodeId> items) {
  const NodeId node = container(kind);
  append(node, items);
  return node;
}

NodeId NodeTable::object(NodeId callable, NodeId arguments, Made made) {
  const NodeId parts[] = {callable, arguments, kNoNode, kNoNode, kNoNode, kNoNode};
  const std::uint64_t begin = refs_.size();
  refs_.insert(refs_.end(), std::begin(parts), std::end(parts));
  return add(ValueKind::object, static_cast<std::uint8_t>(made), std::size(parts), begin);
}

NodeId NodeTable::tensor(const TensorRow& row, std::span<const std::int64_t> shape,
                         std::span<const std::int64_t> stride) {
  TensorRow made = row;
  made.ndim = static_cast<std::uint8_t>(shape.size());
  made.dims = sizes_.size();
  sizes_.insert(sizes_.end(), shape.begin(), shape.end());
  sizes_.insert(sizes_.end(), stride.begin(), stride.end());
  rows_.push_back(made);
  return add(ValueKind::tensor, 0, 0, rows_.size() - 1);
}

NodeId NodeTable::storage(std::uint32_t number, Dtype dtype, std::uint64_t numel) {
  return add(ValueKind::storage, static_cast<std::uint8_t>(dtype), number, numel);
}

// Makes room for `more` items of `width` references each. A container's room is its count rounded
// up to a power of two, so it need not be stored; what it leaves behind when it moves is lost until
// the table goes.
void NodeTable::grow(NodeId node, std::size_t more, std::size_t width) {
  Node& n = nodes_[node];
  const std::size_t wanted = n.count + more;
  if (wanted > 0x7FFFFFFF)
    throw FormatError("a container of " + std::to_string(wanted) +
                      " items; expected at most 2147483647");
  const std::size_t room = n.count ? std::bit_ceil(std::size_t{n.count}) : 0;
  if (wanted <= room) return;
  const std::size_t new_room = std::bit_ceil(wanted);
  if (n.begin + room * width == refs_.size() && room) {  // the last one grows where it is
    refs_.resize(refs_.size() + (new_room - room) * width, kNoNode);
    return;
  }
  const std::size_t begin = refs_.size();
  refs_.resize(begin + new_room * width, kNoNode);
  std::copy_n(refs_.begin() + static_cast<std::ptrdiff_t>(n.begin), n.count * width,
              refs_.begin() + static_cast<std::ptrdiff_t>(begin));
  n.begin = begin;
}

void NodeTable::append(NodeId list, std::span<const NodeId> items) {
  if (kind(list) == ValueKind::object) {
    if (items.empty()) return;
    if (object_item(list, kListItems) == kNoNode) {
      const NodeId made = container(ValueKind::list);
      object_item(list, kListItems) = made;
    }
    return append(object_item(list, kListItems), items);
  }
  grow(list, items.size(), 1);
  Node& n = nodes_[list];
  std::copy(items.begin(), items.end(),
            refs_.begin() + static_cast<std::ptrdiff_t>(n.begin + n.count));
  n.count += static_cast<std::uint32_t>(items.size());
}

void NodeTable::set(NodeId dict, NodeId key, NodeId value) {
  if (kind(dict) == ValueKind::object) {
    if (object_item(dict, kDictItems) == kNoNode) {
      const NodeId made = container(ValueKind::dict);
      object_item(dict, kDictItems) = made;
    }
    return set(object_item(dict, kDictItems), key, value);
  }
  key_work_.add(*this, key);
  const auto key_of = [&](std::uint32_t entry) { return entries(dict)[2 * std::size_t{entry}]; };
  const auto hash_of = [&](NodeId k) { return entry_hash(dict, hash_key(*this, k)); };
  const std::uint32_t count = nodes_[dict].count;
  std::uint32_t there = count;  // the entry with an equal key
  if (!is_large(dict)) {
    for (there = 0; there < count && !equal_keys(*this, key_of(there), key);) ++there;
  } else if (const Entry* const found = entries_of_large_dicts_.find_or_add(
                 hash_of(key),
                 [&](const Entry& entry) {
                   return entry.dict == dict && equal_keys(*this, key_of(entry.number), key);
                 },
                 {dict, count})) {
    there = found->number;
  }
  if (there < count) {
    refs_[nodes_[dict].begin + 2 * std::uint64_t{there} + 1] = value;
    return;
  }
  grow(dict, 1, 2);
  Node& n = nodes_[dict];
  refs_[n.begin + 2 * std::uint64_t{n.count}] = key;
  refs_[n.begin + 2 * std::uint64_t{n.count} + 1] = value;
  if (++n.count != kLargeFrom) return;
  for (std::uint32_t i = 0; i < kLargeFrom; ++i)
    entries_of_large_dicts_.add(hash_of(key_of(i)), {dict, i});
}

void NodeTable::set_object_items(NodeId object, std::span<const NodeId> items) {
  std::copy(items.begin(), items.end(),
            refs_.begin() + static_cast<std::ptrdiff_t>(nodes_[object].begin));
}

void NodeTable::become(NodeId node, NodeId other) {
  nodes_[node] = nodes_[other];
  if (const NodeId a = attributes(other); a != kNoNode) attributes_[node] = a;
}

double NodeTable::as_real(NodeId node) const {
  const Node& n = nodes_[node];
  if (n.kind == ValueKind::boolean) return n.tag;
  if (n.kind == ValueKind::integer) return static_cast<double>(static_cast<std::int64_t>(n.begin));
  return std::bit_cast<double>(n.begin);
}

std::pair<double, double> NodeTable::as_complex(NodeId node) const {
  double both[2];
  std::memcpy(both, text_.data() + nodes_[node].begin, sizeof both);
  return {both[0], both[1]};
}

std::string_view NodeTable::as_text(NodeId node) const {
  const Node& n = nodes_[node];
  return {text_.data() + n.begin, n.count};
}

std::string_view NodeTable::module_of(NodeId global) const {
  const std::string_view both = as_text(global);
  return both.substr(0, both.find('\n'));
}

std::string_view NodeTable::name_of(NodeId global) const {
  const std::string_view both = as_text(global);
  return both.substr(both.find('\n') + 1);
}

std::span<const NodeId> NodeTable::items(NodeId node) const {
  return {refs_.data() + nodes_[node].begin, nodes_[node].count};
}

std::span<const NodeId> NodeTable::entries(NodeId dict) const {
  return {refs_.data() + nodes_[dict].begin, std::size_t{nodes_[dict].count} * 2};
}

bool NodeTable::is_large(NodeId dict) const { return nodes_[dict].count >= kLargeFrom; }

template <class IsIt>
NodeId NodeTable::find_if(NodeId dict, const IsIt& is_it, std::size_t hash) const {
  const auto all = entries(dict);
  if (!is_large(dict)) {
    for (std::size_t i = 0; i < all.size(); i += 2) {
      if (is_it(all[i])) return all[i + 1];
    }
    return kNoNode;
  }
  const Entry* const found =
      entries_of_large_dicts_.find(entry_hash(dict, hash), [&](const Entry& entry) {
        return entry.dict == dict && is_it(all[2 * std::size_t{entry.number}]);
      });
  return found ? all[2 * std::size_t{found->number} + 1] : kNoNode;
}

NodeId NodeTable::find(NodeId dict, NodeId key) const {
  const auto is_it = [&](NodeId k) { return equal_keys(*this, k, key); };
  return find_if(dict, is_it, is_large(dict) ? hash_key(*this, key) : 0);
}

NodeId NodeTable::find(NodeId dict, std::string_view key) const {
  const auto is_it = [&](NodeId k) { return kind(k) == ValueKind::text && as_text(k) == key; };
  return find_if(dict, is_it, is_large(dict) ? hash_key(key) : 0);
}

NodeId NodeTable::find(NodeId dict, std::int64_t key) const {
  const auto is_it = [&](NodeId k) {
    return kind(k) == ValueKind::integer && as_integer(k) == key;
  };
  return find_if(dict, is_it, is_large(dict) ? hash_key(key) : 0);
}

NodeId NodeTable::attributes(NodeId node) const {
  const auto found = attributes_.find(node);
  return found == attributes_.end() ? kNoNode : found->second;
}

std::span<const std::int64_t> NodeTable::shape(NodeId tensor) const {
  const TensorRow& r = row(tensor);
  return {sizes_.data() + r.dims, r.ndim};
}

std::span<const std::int64_t> NodeTable::stride(NodeId tensor) const {
  const TensorRow& r = row(tensor);
  return {sizes_.data() + r.dims + r.ndim, r.ndim};
}

std::uint32_t NodeTable::storage_number(NodeId node) const {
  return kind(node) == ValueKind::tensor ? row(node).storage : nodes_[node].count;
}

std::vector<std::uint32_t> NodeTable::mentions() const {
  std::vector<std::uint32_t> counts(nodes_.size());
  std::vector<NodeId> todo{root};
  while (!todo.empty()) {
    const NodeId node = todo.back();
    todo.pop_back();
    if (node == kNoNode || ++counts[node] > 1) continue;
    // An object's tensor parts and state dict are in its arguments and state too.
    const auto parts =
        kind(node) == ValueKind::object ? items(node).first(kTensorParts) : below(node);
    todo.insert(todo.end(), parts.begin(), parts.end());
    if (!attributes_.empty()) todo.push_back(attributes(node));
  }
  return counts;
}

NodeId NodeTable::copy(const NodeTable& other, NodeId node,
                       const std::vector<std::uint32_t>& storage_numbers) {
  return NodeCopy(other, *this, storage_numbers)(node);
}

}  // namespace transload
