// PyTorch 0.1.1 to 0.1.9: an uncompressed tar of pickles with raw bytes between them. Read only.
//
//   sys_info   pickle of a dict, not used
//   pickle     pickle of the values; a tensor or storage is the persistent id "KEY", digits as text; a class is (class, file, source)
//   storages   pickle of n; n times: pickle of (key, location, class), numel:i64, elements; then pickle of a list of views
//              (key, key of the whole, offset, size) in elements
//   tensors    pickle of m; m times: pickle of (key, storage's key, class), ndim:i32, 4 bytes, sizes:i64[ndim],
//              strides:i64[ndim], storage offset:i64
//
// Numbers and elements are little-endian; keys are ints.
// Sources: torch/serialization.py, legacy_load; docs/formats/torch_tar.md.
#include "archive/tar.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>

#include "format/format.h"
#include "io/file.h"
#include "pickle/rebuild.h"
#include "pickle/whole_pickle.h"
#include "transload/error.h"
#include "types/checked.h"
#include "values/modules.h"

namespace transload {
namespace {

constexpr std::string_view kMembers[] = {"pickle", "storages", "tensors"};

Member* find(TarContainer& tar, std::string_view name) {
  const auto members = tar.members();
  const auto found = std::ranges::find(members, name, &Member::name);
  return found == members.end() ? nullptr : &*found;
}

// A storage or tensor by its key: what the values refer to.
using Values = std::map<std::int64_t, NodeId>;

// The values: their persistent ids are keys.
class TarObjects final : public TorchObjects {
 public:
  TarObjects(NodeTable& nodes, Index& index, const OpenOptions& options, const std::string& where,
             const Values& values)
      : TorchObjects(nodes, index, options, where), nodes_(nodes), values_(values) {}

  NodeId persistent(NodeId id) override {
    // The class is a name like any other: what may be done with it is judged when it is called.
    if (nodes_.kind(id) == ValueKind::tuple && nodes_.items(id).size() == 3)
      return nodes_.items(id)[0];
    if (nodes_.kind(id) != ValueKind::text)
      throw FormatError("the persistent id is not a key or (class, file, source)");
    const std::string_view text = nodes_.as_text(id);
    std::int64_t key = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), key);
    const auto found = values_.find(key);
    if (error != std::errc() || end != text.data() + text.size() || found == values_.end())
      throw FormatError("the persistent id \"" + std::string(text) +
                        "\" is not the key of a tensor or storage");
    return found->second;
  }

 private:
  NodeTable& nodes_;
  const Values& values_;
};

// One member, from its beginning on: pickles, numbers and elements.
class MemberReader {
 public:
  MemberReader(const File& file, const Member& member)
      : file_(file),
        name_(member.name),
        at_(member.data_offset),
        end_(member.data_offset + member.nbytes) {}

  std::uint64_t offset() const { return at_; }

  std::string pickle() {
    const std::string bytes = read_whole_pickle(file_, at_, end_, name_);
    at_ += bytes.size();
    return bytes;
  }

  std::int64_t number(std::size_t nbytes) {
    std::int64_t value = 0;
    const std::string bytes = read_text(file_, take(nbytes), nbytes);
    std::memcpy(&value, bytes.data(), nbytes);  // little-endian, as this machine
    return value;
  }

  // Passes over these bytes and returns where they begin.
  std::uint64_t take(std::uint64_t nbytes) {
    if (nbytes > end_ - at_) {
      fail(std::to_string(nbytes) + " bytes are needed, but only " + std::to_string(end_ - at_) +
           " are left in the member");
    }
    at_ += nbytes;
    return at_ - nbytes;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(file_.name + ": offset " + std::to_string(at_) + ": member \"" + name_ +
                      "\": " + what);
  }

 private:
  const File& file_;
  const std::string name_;
  std::uint64_t at_;
  const std::uint64_t end_;
};

class TarReader {
 public:
  TarReader(Opened& opened, const OpenOptions& options)
      : file_(opened.file()), options_(options), tar_(file_) {
    index_.format = "torch_tar";
    index_.files.push_back(file_);
  }

  Index read() {
    if (!tar_.damage().empty()) throw FormatError(tar_.damage());
    for (const std::string_view name : kMembers) {
      if (std::ranges::count(tar_.members(), name, &Member::name) > 1) {
        throw FormatError(file_.name + ": member \"" + std::string(name) +
                          "\" is there twice, and readers differ in which one they take");
      }
    }
    read_storages();
    read_tensors();
    MemberReader member(file_, *find(tar_, "pickle"));
    const std::string where = file_.name + ": member \"pickle\"";
    const std::string pickle = member.pickle();
    TarObjects objects(*nodes_, index_, options_, where, values_);
    nodes_->root = read_pickle(std::as_bytes(std::span(pickle)), *nodes_, objects, where).root;
    const std::vector<std::uint32_t> mentions = nodes_->mentions();
    for (const auto& [node, view] : views_) {
      if (mentions[node] > 0) {
        throw UnsupportedError(where +
                               ": a part of a storage is a value of its own, which is not read: "
                               "only tensors over it are");
      }
    }
    add_state_dicts(*nodes_);
    index_.contents = StateDict(nodes_, meta_storages(index_));
    return std::move(index_);
  }

 private:
  struct View {
    std::uint64_t offset, numel;  // in elements
  };

  // Reads the pickle that comes next: a tuple or list of `count` values, or an int.
  NodeId plain(MemberReader& member) {
    const std::string bytes = member.pickle();
    const std::string where =
        file_.name + ": a pickle before offset " + std::to_string(member.offset());
    TarObjects objects(*nodes_, index_, options_, where, values_);
    return read_pickle(std::as_bytes(std::span(bytes)), *nodes_, objects, where).root;
  }
  std::int64_t count(MemberReader& member) {
    const NodeId node = plain(member);
    if (nodes_->kind(node) != ValueKind::integer) member.fail("expected a number of items");
    return nodes_->as_integer(node);
  }
  std::vector<NodeId> items(MemberReader& member, NodeId node, std::size_t count) const {
    const ValueKind kind = nodes_->kind(node);
    if ((kind != ValueKind::tuple && kind != ValueKind::list) ||
        (count > 0 && nodes_->items(node).size() != count))
      member.fail("expected a tuple of " + std::to_string(count) + " values");
    return {nodes_->items(node).begin(), nodes_->items(node).end()};
  }
  std::int64_t integer(MemberReader& member, NodeId node) const {
    if (nodes_->kind(node) != ValueKind::integer) member.fail("expected an int");
    return nodes_->as_integer(node);
  }

  void read_storages() {
    MemberReader member(file_, *find(tar_, "storages"));
    for (std::int64_t left = count(member); left > 0; --left) add_storage(member);
    for (const NodeId view : items(member, plain(member), 0))
      add_view(member, items(member, view, 4));
  }

  void add_value(MemberReader& member, std::int64_t key, NodeId node) {
    if (!values_.emplace(key, node).second)
      member.fail("key " + std::to_string(key) + " is there twice");
  }

  void add_storage(MemberReader& member) {
    const std::vector<NodeId> parts = items(member, plain(member), 3);
    const std::int64_t key = integer(member, parts[0]);
    const bool is_class =
        nodes_->kind(parts[2]) == ValueKind::global &&
        (nodes_->module_of(parts[2]) == "torch" || nodes_->module_of(parts[2]) == "torch.cuda");
    const auto dtype =
        is_class ? dtype_from_storage_class(nodes_->name_of(parts[2])) : std::nullopt;
    if (!dtype || nodes_->kind(parts[1]) != ValueKind::text)
      member.fail("expected (key, location, class of a storage)");
    const std::int64_t numel = member.number(8);
    if (numel < 0) member.fail("a storage of " + std::to_string(numel) + " elements");
    const std::uint64_t nbytes =
        checked_mul(static_cast<std::uint64_t>(numel), itemsize(*dtype), "a storage's size");
    const std::uint64_t offset = member.take(nbytes);
    const auto number = static_cast<std::uint32_t>(index_.storages.size());
    index_.storages.push_back(
        {nbytes, location_number(nodes_->as_text(parts[1])), 1, *dtype, std::to_string(key)});
    if (nbytes > 0) index_.pieces.push_back({number, 0, nbytes, {0, offset, nbytes}});
    add_value(member, key, nodes_->storage(number, *dtype, static_cast<std::uint64_t>(numel)));
  }

  // (key, key of the whole, offset, size)
  void add_view(MemberReader& member, const std::vector<NodeId>& parts) {
    const auto root = values_.find(integer(member, parts[1]));
    if (root == values_.end() || views_.contains(root->second))
      member.fail("a part of a storage that is not there");
    const auto whole = static_cast<std::int64_t>(nodes_->storage_numel(root->second));
    const std::int64_t offset = integer(member, parts[2]), numel = integer(member, parts[3]);
    if (offset < 0 || numel < 0 || offset > whole || numel > whole - offset) {
      member.fail(std::to_string(numel) + " elements from " + std::to_string(offset) +
                  " on of a storage of " + std::to_string(whole));
    }
    const NodeId node =
        nodes_->storage(nodes_->storage_number(root->second), nodes_->as_dtype(root->second),
                        static_cast<std::uint64_t>(numel));
    views_[node] = {static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(numel)};
    add_value(member, integer(member, parts[0]), node);
  }

  void read_tensors() {
    MemberReader member(file_, *find(tar_, "tensors"));
    for (std::int64_t left = count(member); left > 0; --left) add_tensor(member);
  }

  void add_tensor(MemberReader& member) {
    constexpr std::int64_t kMostDimensions = 64;
    const std::vector<NodeId> parts = items(member, plain(member), 3);
    const auto storage = values_.find(integer(member, parts[1]));
    if (storage == values_.end() || nodes_->kind(storage->second) != ValueKind::storage)
      member.fail("a tensor over a storage that is not there");
    const auto ndim = static_cast<std::int32_t>(member.number(4));
    member.take(4);
    if (ndim < 0 || ndim > kMostDimensions)
      member.fail("a tensor of " + std::to_string(ndim) + " dimensions");
    std::vector<std::int64_t> shape, stride;
    for (auto* const dims : {&shape, &stride}) {
      for (std::int64_t d = 0; d < ndim; ++d) dims->push_back(member.number(8));
    }
    // PyTorch 0.1 had no tensors without dimensions: one of none has no elements.
    if (ndim == 0) shape = stride = {0};
    TensorRow row;
    row.storage = nodes_->storage_number(storage->second);
    row.dtype = nodes_->as_dtype(storage->second);
    row.storage_offset = member.number(8);
    const auto view = views_.find(storage->second);
    const std::uint64_t numel = nodes_->storage_numel(storage->second);
    try {  // the constructor checks that the tensor lies within its storage
      Tensor(Storage(kMeta, nullptr, numel * itemsize(row.dtype), nullptr), row.dtype, Dims(shape),
             Dims(stride), row.storage_offset);
    } catch (const Error& error) {
      member.fail(error.what());
    }
    if (view != views_.end()) row.storage_offset += static_cast<std::int64_t>(view->second.offset);
    add_value(member, integer(member, parts[0]), nodes_->tensor(row, shape, stride));
  }

  std::uint32_t location_number(std::string_view tag) {
    const auto found = std::ranges::find(index_.locations, tag);
    const auto number = static_cast<std::uint32_t>(found - index_.locations.begin());
    if (found == index_.locations.end()) index_.locations.emplace_back(tag);
    return number;
  }

  const File& file_;
  const OpenOptions& options_;
  TarContainer tar_;
  Index index_;
  const std::shared_ptr<NodeTable> nodes_ = std::make_shared<NodeTable>();
  Values values_;
  std::map<NodeId, View> views_;
};

bool recognizes(Opened& opened) {
  if (opened.is_folder() || !is_tar(opened.head())) return false;
  TarContainer tar(opened.file());
  return std::ranges::all_of(kMembers,
                             [&](std::string_view name) { return find(tar, name) != nullptr; });
}

Index read(Opened& opened, const OpenOptions& options) { return TarReader(opened, options).read(); }

}  // namespace

const Format kTorchTar{"torch_tar", recognizes, read};

}  // namespace transload
