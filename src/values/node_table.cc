// The table of nodes: see node_table.h. Large dicts share one open-addressing index over their entries.
#include "values/node_table.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>

#include "transload/error.h"
#include "types/checked.h"

namespace transload {
namespace {

constexpr std::uint32_t kIndexedFrom = 9;  // entries; smaller dicts are searched one by one
constexpr double kTwoTo63 = 9223372036854775808.0;
constexpr int kMaxKeyParts = 64;  // of a tuple used as a key: shared parts could make 2^n of them

constexpr std::size_t mix(std::size_t h, std::size_t more) {
  h ^= more + 0x9E3779B97F4A7C15ull + (h << 6) + (h >> 2);
  return h * 0xFF51AFD7ED558CCDull;
}

bool is_number(ValueKind kind) {
  return kind == ValueKind::boolean || kind == ValueKind::integer || kind == ValueKind::real;
}

}  // namespace

void NodeTable::reserve_for_pickle(std::size_t nbytes) {
  // A tensor takes 110 bytes or more, and makes 10 nodes and 20 references. What is not used is never touched.
  const std::size_t tensors = nbytes / 100;
  nodes_.reserve(10 * tensors);
  refs_.reserve(20 * tensors);
  rows_.reserve(tensors);
  sizes_.reserve(2 * tensors);
  text_.reserve(nbytes / 2);
}

NodeId NodeTable::add(ValueKind kind, std::uint8_t tag, std::uint32_t count, std::uint64_t begin) {
  if (nodes_.size() >= kNoNode) throw FormatError("more than 4294967294 values in one state dict");
  nodes_.push_back({kind, tag, count, begin});
  return static_cast<NodeId>(nodes_.size() - 1);
}

NodeId NodeTable::add_text(ValueKind kind, std::string_view value) {
  if (value.size() > 0xFFFFFFFF) throw FormatError("a text of more than 4294967295 bytes");
  const std::uint64_t begin = text_.size();
  text_.append(value);
  return add(kind, 0, static_cast<std::uint32_t>(value.size()), begin);
}

NodeId NodeTable::big_integer(std::span<const std::byte> value) {
  // Drop bytes that only repeat the sign.
  const auto sign = [](std::byte b) { return (b & std::byte{0x80}) != std::byte{0}; };
  while (value.size() > 1) {
    const bool negative = sign(value[value.size() - 2]);
    if (value.back() != (negative ? std::byte{0xFF} : std::byte{0})) break;
    value = value.first(value.size() - 1);
  }
  if (value.size() <= 8) {
    std::int64_t small = !value.empty() && sign(value.back()) ? -1 : 0;
    std::memcpy(&small, value.data(), value.size());  // little-endian, as all that we run on
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
  const NodeId parts[] = {callable, arguments, kNoNode, kNoNode, kNoNode};
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

// Makes room for `more` items of `width` references. A container's room is its count rounded up to a power of two.
void NodeTable::grow(NodeId node, std::size_t more, std::size_t width) {
  Node& n = nodes_[node];
  const std::size_t wanted = n.count + more;
  if (wanted > 0x7FFFFFFF) throw FormatError("a container of more than 2147483647 items");
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
  count_work(key);
  const std::uint32_t count = nodes_[dict].count;
  std::uint32_t entry = count;  // where an equal key is
  if (count < kIndexedFrom) {
    find(dict, 0, key, {}, entry);
  } else if (const Entry* const there = entries_of_large_dicts_.find_or_add(
                 mix(hash(key), dict), is_entry(dict, key, {}), {dict, count})) {
    entry = there->number;
  }
  if (entry < count) {
    refs_[nodes_[dict].begin + 2 * std::uint64_t{entry} + 1] = value;
    return;
  }
  grow(dict, 1, 2);
  Node& n = nodes_[dict];
  refs_[n.begin + 2 * std::uint64_t{n.count}] = key;
  refs_[n.begin + 2 * std::uint64_t{n.count} + 1] = value;
  ++n.count;
  if (n.count != kIndexedFrom) return;
  for (std::uint32_t i = 0; i < kIndexedFrom; ++i)
    entries_of_large_dicts_.add(mix(hash(entries(dict)[2 * std::size_t{i}]), dict), {dict, i});
}

// Each time a key is used all of its bytes are read: a text of a megabyte that is mentioned a million times is a terabyte.
void NodeTable::count_work(NodeId key) {
  // A float of that size may equal an integer that is kept as text.
  has_large_reals_ =
      has_large_reals_ || (kind(key) == ValueKind::real && std::isfinite(as_real(key)) &&
                           std::abs(as_real(key)) >= kTwoTo63);
  has_big_integers_ = has_big_integers_ || kind(key) == ValueKind::big_integer;
  if (has_large_reals_ && has_big_integers_)
    throw FormatError(
        "a float and an integer from 2^63 on as keys, which may be one key in Python");
  constexpr std::uint32_t kLong = 256;
  constexpr std::uint64_t kMostNbytes = 1ull << 30, kMostPerByte = 16;
  const auto nbytes_of = [&](NodeId node) {
    return has_text(kind(node)) && nodes_[node].count > kLong ? nodes_[node].count : 0;
  };
  key_nbytes_ += nbytes_of(key);
  if (kind(key) == ValueKind::tuple) {
    for (const NodeId part : items(key)) key_nbytes_ += nbytes_of(part);
  }
  if (key_nbytes_ > kMostNbytes + kMostPerByte * text_.size())
    throw FormatError("long keys used so often that reading them would take " +
                      human_bytes(key_nbytes_));
}

void NodeTable::become(NodeId node, NodeId other) {
  nodes_[node] = nodes_[other];
  if (const NodeId a = attributes(other); a != kNoNode) attributes_[node] = a;
}

bool NodeTable::can_be_key(NodeId node) const {
  if (!is_hashable(node)) return false;
  std::vector<NodeId> todo{node};
  while (!todo.empty()) {
    const NodeId at = todo.back();
    todo.pop_back();
    const ValueKind k = kind(at);
    const bool has_parts =
        k == ValueKind::tuple || k == ValueKind::size || k == ValueKind::frozenset;
    if (has_parts) todo.insert(todo.end(), items(at).begin(), items(at).end());
    // In any order they are the same key; and complex numbers may be real.
    if ((k == ValueKind::frozenset && items(at).size() > 1) ||
        (k == ValueKind::complex && as_complex(at).second == 0))
      return false;
  }
  return true;
}

bool NodeTable::is_hashable(NodeId node) const {
  std::vector<NodeId> todo{node};
  for (int parts = 0; !todo.empty(); ++parts) {
    if (parts == kMaxKeyParts) return false;
    const NodeId at = todo.back();
    todo.pop_back();
    switch (kind(at)) {
      case ValueKind::list:
      case ValueKind::dict:
      case ValueKind::ordered_dict:
      case ValueKind::set:
      case ValueKind::bytearray:
        return false;
      case ValueKind::tuple:
      case ValueKind::size:
      case ValueKind::frozenset:
        for (const NodeId part : items(at)) todo.push_back(part);
        break;
      default:
        break;
    }
  }
  return true;
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

NodeId NodeTable::find(NodeId dict, NodeId key) const {
  std::uint32_t entry = 0;
  return find(dict, nodes_[dict].count >= kIndexedFrom ? hash(key) : 0, key, {}, entry);
}

NodeId NodeTable::find(NodeId dict, std::string_view key) const {
  std::uint32_t entry = 0;
  return find(dict, nodes_[dict].count >= kIndexedFrom ? std::hash<std::string_view>()(key) : 0,
              kNoNode, key, entry);
}

// The value at `key`, or if that is kNoNode at the text `key_text`; kNoNode if there is none.
NodeId NodeTable::find(NodeId dict, std::size_t key_hash, NodeId key, std::string_view key_text,
                       std::uint32_t& entry) const {
  const auto all = entries(dict);
  const auto is_it = is_entry(dict, key, key_text);
  if (nodes_[dict].count < kIndexedFrom) {
    for (entry = 0; entry < nodes_[dict].count; ++entry) {
      if (is_it({dict, entry})) return all[2 * std::size_t{entry} + 1];
    }
    return kNoNode;
  }
  const Entry* const found = entries_of_large_dicts_.find(mix(key_hash, dict), is_it);
  if (!found) return kNoNode;
  entry = found->number;
  return all[2 * std::size_t{entry} + 1];
}

std::size_t NodeTable::hash(NodeId key) const {
  if (kind(key) == ValueKind::text) return std::hash<std::string_view>()(as_text(key));
  std::size_t h = 0;
  std::vector<NodeId> todo{key};
  for (int parts = 0; !todo.empty() && parts < kMaxKeyParts; ++parts) {
    const NodeId at = todo.back();
    todo.pop_back();
    const ValueKind k = kind(at);
    if (is_number(k)) {
      h = mix(h, std::hash<double>()(as_real(at)));
    } else if (k == ValueKind::tuple || k == ValueKind::size || k == ValueKind::frozenset) {
      h = mix(h, nodes_[at].count);
      for (const NodeId part : items(at)) todo.push_back(part);
    } else if (k == ValueKind::text || k == ValueKind::bytes || k == ValueKind::device ||
               k == ValueKind::global || k == ValueKind::big_integer) {
      h = mix(h, std::hash<std::string_view>()(as_text(at)));
    } else if (k == ValueKind::tensor || k == ValueKind::storage || k == ValueKind::object) {
      h = mix(h, at);  // equal to itself alone
    } else {
      h = mix(h, static_cast<std::size_t>(k));
    }
  }
  return h;
}

// Exactly, as Python compares ints and floats.
bool NodeTable::equal_numbers(NodeId a, NodeId b) const {
  const auto is_real = [&](NodeId n) { return kind(n) == ValueKind::real; };
  const auto whole = [&](NodeId n) {
    return kind(n) == ValueKind::boolean ? std::int64_t{as_boolean(n)} : as_integer(n);
  };
  if (!is_real(a) && !is_real(b)) return whole(a) == whole(b);
  if (is_real(a) && is_real(b)) return as_real(a) == as_real(b);
  if (is_real(b)) std::swap(a, b);
  const double real = as_real(a);
  return std::trunc(real) == real && std::abs(real) < kTwoTo63 &&
         static_cast<std::int64_t>(real) == whole(b);
}

bool NodeTable::equal_keys(NodeId a, NodeId b) const {
  std::vector<std::pair<NodeId, NodeId>> todo;
  for (int parts = 0;; ++parts) {
    if (parts == kMaxKeyParts) return false;
    if (a != b) {
      const auto kind_of = [&](NodeId n) {
        return kind(n) == ValueKind::size ? ValueKind::tuple : kind(n);
      };
      const ValueKind ka = kind_of(a), kb = kind_of(b);
      if (is_number(ka) && is_number(kb)) {
        if (!equal_numbers(a, b)) return false;
      } else if (ka != kb) {
        return false;
      } else if (ka == ValueKind::tuple || ka == ValueKind::frozenset) {
        const auto left = items(a), right = items(b);
        if (left.size() != right.size()) return false;
        for (std::size_t i = 0; i < left.size(); ++i) todo.emplace_back(left[i], right[i]);
      } else if (ka == ValueKind::text || ka == ValueKind::bytes || ka == ValueKind::device ||
                 ka == ValueKind::global || ka == ValueKind::big_integer ||
                 ka == ValueKind::complex) {
        if (as_text(a) != as_text(b)) return false;
      } else if (ka == ValueKind::dtype) {
        if (as_dtype(a) != as_dtype(b)) return false;
      } else if (ka != ValueKind::none) {
        return false;  // two objects are equal only if they are one
      }
    }
    if (todo.empty()) return true;
    std::tie(a, b) = todo.back();
    todo.pop_back();
  }
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
    // An object's tensor parts are in its arguments too.
    const auto parts =
        kind(node) == ValueKind::object ? items(node).first(kTensorParts) : below(node);
    todo.insert(todo.end(), parts.begin(), parts.end());
    if (!attributes_.empty()) todo.push_back(attributes(node));
  }
  return counts;
}

NodeId NodeTable::copy(const NodeTable& other, NodeId node,
                       const std::vector<std::uint32_t>& storage_numbers) {
  // First a node for each one that is reached, then their contents: what refers to itself needs no care.
  std::unordered_map<NodeId, NodeId> made;
  std::vector<NodeId> order, todo{node};
  const auto visit = [&](NodeId n) {
    if (n != kNoNode && !made.contains(n)) todo.push_back(n);
  };
  while (!todo.empty()) {
    const NodeId at = todo.back();
    todo.pop_back();
    if (made.contains(at)) continue;
    const Node& n = other.nodes_[at];
    NodeId copied;
    if (has_text(n.kind)) {
      copied = add_text(n.kind, std::string(other.as_text(at)));
    } else if (n.kind == ValueKind::tensor) {
      TensorRow r = other.row(at);
      if (r.storage != TensorRow::kNoStorage) r.storage = storage_numbers[r.storage];
      const std::vector<std::int64_t> shape(other.shape(at).begin(), other.shape(at).end());
      const std::vector<std::int64_t> stride(other.stride(at).begin(), other.stride(at).end());
      copied = tensor(r, shape, stride);
    } else if (n.kind == ValueKind::storage) {
      copied = storage(storage_numbers[n.count], other.as_dtype(at), n.begin);
    } else if (n.kind == ValueKind::object) {
      copied = object(kNoNode, kNoNode, other.made(at));
    } else if (is_sequence(n.kind) || is_dict(n.kind)) {
      copied = container(n.kind);
    } else {
      copied = add(n.kind, n.tag, n.count, n.begin);
    }
    made[at] = copied;
    order.push_back(at);
    for (const NodeId part : other.below(at)) visit(part);
    visit(other.attributes(at));
  }
  for (const NodeId at : order) {
    const NodeId copied = made[at];
    const auto parts = other.below(at);
    std::vector<NodeId> copies;
    for (const NodeId part : parts) copies.push_back(part == kNoNode ? kNoNode : made[part]);
    if (is_dict(other.kind(at))) {
      for (std::size_t i = 0; i < copies.size(); i += 2) set(copied, copies[i], copies[i + 1]);
    } else if (other.kind(at) == ValueKind::object) {
      for (std::size_t i = 0; i < copies.size(); ++i)
        object_item(copied, static_cast<ObjectItem>(i)) = copies[i];
    } else if (!copies.empty()) {
      append(copied, copies);
    }
    if (const NodeId a = other.attributes(at); a != kNoNode) attributes_[copied] = made[a];
  }
  return made[node];
}

}  // namespace transload
