#include "values/keys.h"

#include <cmath>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "transload/error.h"
#include "types/checked.h"
#include "values/node_table.h"

namespace transload {
namespace {

constexpr double kTwoTo63 = 9223372036854775808.0;

constexpr std::size_t mix(std::size_t h, std::size_t more) {
  h ^= more + 0x9E3779B97F4A7C15ull + (h << 6) + (h >> 2);
  return h * 0xFF51AFD7ED558CCDull;
}

bool is_number(ValueKind kind) {
  return kind == ValueKind::boolean || kind == ValueKind::integer || kind == ValueKind::real;
}

bool has_hashed_items(ValueKind kind) {
  return kind == ValueKind::tuple || kind == ValueKind::size || kind == ValueKind::frozenset;
}

// Exactly, as Python compares ints and floats.
bool equal_numbers(const NodeTable& nodes, NodeId a, NodeId b) {
  const auto is_real = [&](NodeId n) { return nodes.kind(n) == ValueKind::real; };
  const auto whole = [&](NodeId n) {
    return nodes.kind(n) == ValueKind::boolean ? std::int64_t{nodes.as_boolean(n)}
                                               : nodes.as_integer(n);
  };
  if (!is_real(a) && !is_real(b)) return whole(a) == whole(b);
  if (is_real(a) && is_real(b)) return nodes.as_real(a) == nodes.as_real(b);
  if (is_real(b)) std::swap(a, b);
  const double real = nodes.as_real(a);
  return std::trunc(real) == real && std::abs(real) < kTwoTo63 &&
         static_cast<std::int64_t>(real) == whole(b);
}

}  // namespace

bool is_hashable(const NodeTable& nodes, NodeId node) {
  std::vector<NodeId> todo{node};
  for (int parts = 0; !todo.empty(); ++parts) {
    if (parts == kMaxKeyParts) return false;
    const NodeId at = todo.back();
    todo.pop_back();
    const ValueKind kind = nodes.kind(at);
    if (has_hashed_items(kind)) {
      todo.insert(todo.end(), nodes.items(at).begin(), nodes.items(at).end());
    } else if (is_dict(kind) || is_sequence(kind) || kind == ValueKind::bytearray) {
      return false;
    }
  }
  return true;
}

bool can_be_key(const NodeTable& nodes, NodeId node) {
  if (!is_hashable(nodes, node)) return false;
  std::vector<NodeId> todo{node};
  while (!todo.empty()) {
    const NodeId at = todo.back();
    todo.pop_back();
    const ValueKind kind = nodes.kind(at);
    if (has_hashed_items(kind))
      todo.insert(todo.end(), nodes.items(at).begin(), nodes.items(at).end());
    // A frozenset equals another one with its items in any order, and a complex number without an
    // imaginary part equals a float.
    if ((kind == ValueKind::frozenset && nodes.items(at).size() > 1) ||
        (kind == ValueKind::complex && nodes.as_complex(at).second == 0))
      return false;
  }
  return true;
}

bool equal_keys(const NodeTable& nodes, NodeId a, NodeId b) {
  std::vector<std::pair<NodeId, NodeId>> todo;
  for (int parts = 0;; ++parts) {
    if (parts == kMaxKeyParts) return false;
    if (a != b) {
      const auto kind_of = [&](NodeId n) {
        return nodes.kind(n) == ValueKind::size ? ValueKind::tuple : nodes.kind(n);
      };
      const ValueKind ka = kind_of(a), kb = kind_of(b);
      if (is_number(ka) && is_number(kb)) {
        if (!equal_numbers(nodes, a, b)) return false;
      } else if (ka != kb) {
        return false;
      } else if (has_hashed_items(ka)) {
        const auto left = nodes.items(a), right = nodes.items(b);
        if (left.size() != right.size()) return false;
        for (std::size_t i = 0; i < left.size(); ++i) todo.emplace_back(left[i], right[i]);
      } else if (has_text(ka) && ka != ValueKind::bytearray) {
        if (nodes.as_text(a) != nodes.as_text(b)) return false;
      } else if (ka == ValueKind::dtype) {
        if (nodes.as_dtype(a) != nodes.as_dtype(b)) return false;
      } else if (ka != ValueKind::none) {
        return false;  // two objects are equal only if they are one
      }
    }
    if (todo.empty()) return true;
    std::tie(a, b) = todo.back();
    todo.pop_back();
  }
}

std::size_t hash_key(std::string_view text) { return std::hash<std::string_view>()(text); }

std::size_t hash_key(std::int64_t number) {
  return mix(0, std::hash<double>()(static_cast<double>(number)));
}

std::size_t hash_key(const NodeTable& nodes, NodeId key) {
  if (nodes.kind(key) == ValueKind::text) return hash_key(nodes.as_text(key));
  std::size_t h = 0;
  std::vector<NodeId> todo{key};
  for (int parts = 0; !todo.empty() && parts < kMaxKeyParts; ++parts) {
    const NodeId at = todo.back();
    todo.pop_back();
    const ValueKind kind = nodes.kind(at);
    if (is_number(kind)) {
      h = mix(h, std::hash<double>()(nodes.as_real(at)));
    } else if (has_hashed_items(kind)) {
      h = mix(h, nodes.items(at).size());
      todo.insert(todo.end(), nodes.items(at).begin(), nodes.items(at).end());
    } else if (has_text(kind) && kind != ValueKind::complex && kind != ValueKind::bytearray) {
      h = mix(h, hash_key(nodes.as_text(at)));
    } else if (kind == ValueKind::tensor || kind == ValueKind::storage ||
               kind == ValueKind::object) {
      h = mix(h, at);
    } else {
      h = mix(h, static_cast<std::size_t>(kind));
    }
  }
  return h;
}

// Each use of a key reads all of its bytes: a text of a megabyte that is mentioned a million times
// is a terabyte.
void KeyWork::add(const NodeTable& nodes, NodeId key) {
  const ValueKind kind = nodes.kind(key);
  if (kind == ValueKind::real) {
    const double real = nodes.as_real(key);
    has_large_reals_ = has_large_reals_ || (std::isfinite(real) && std::abs(real) >= kTwoTo63);
  }
  has_big_integers_ = has_big_integers_ || kind == ValueKind::big_integer;
  if (has_large_reals_ && has_big_integers_) {
    throw FormatError(
        "the keys of its dicts include a float of 2^63 or more and an int of more than 64 bits. "
        "Python may treat the "
        "two as one key, which is not supported");
  }
  constexpr std::size_t kLong = 256;
  constexpr std::uint64_t kMaxNbytes = 1ull << 30, kMaxUses = 16;
  const auto nbytes_of = [&](NodeId node) -> std::size_t {
    if (!has_text(nodes.kind(node))) return 0;
    const std::size_t nbytes = nodes.as_text(node).size();
    return nbytes > kLong ? nbytes : 0;
  };
  nbytes_ += nbytes_of(key);
  if (kind == ValueKind::tuple) {
    for (const NodeId part : nodes.items(key)) nbytes_ += nbytes_of(part);
  }
  if (nbytes_ > kMaxNbytes + kMaxUses * nodes.text_nbytes()) {
    throw FormatError("its dicts use long keys so often that comparing them would read " +
                      human_bytes(nbytes_) + "; expected at most 1 GiB plus " +
                      std::to_string(kMaxUses) + " times the " + human_bytes(nodes.text_nbytes()) +
                      " of text in the file");
  }
}

}  // namespace transload
