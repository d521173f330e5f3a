// What PyTorch's pickles mean by the names they call: tensors, storages, parameters, and plain values that a
// pickle spells as calls.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>

#include "pickle/reader.h"
#include "transload/scan.h"
#include "transload/transload.h"

namespace transload {

// Makes values of one file's pickle, and notes the storages that it mentions in the order in which it does.
class TorchObjects : public PickleObjects {
 public:
  // Storages and their locations go to `index`; numbers are those of index.storages.
  TorchObjects(NodeTable& nodes, Index& index, const OpenOptions& options, const std::string& where)
      : nodes_(nodes), index_(index), options_(options), where_(where) {}

  NodeId global(std::string_view module, std::string_view name) override;
  NodeId persistent(NodeId id) override;
  NodeId call(NodeId callable, NodeId arguments, Made made) override;
  void build(NodeId target, NodeId state) override;

 private:
  enum class Known : std::uint8_t {
    nothing,
    ordered_dict,
    size,
    device,
    encode,
    bytes,
    bytearray,
    set,
    frozenset,
    complex,
    tensor_v0,
    tensor_v2,
    tensor_v3,
    parameter,
    parameter_with_state,
    meta_tensor,
    from_type,
  };
  Known known(NodeId callable);
  NodeId make_tensor(std::span<const NodeId> arguments, Known function);
  NodeId make_meta_tensor(std::span<const NodeId> arguments);
  NodeId make_parameter(std::span<const NodeId> arguments);
  void set_state(NodeId tensor, NodeId state);
  NodeId encode(std::span<const NodeId> arguments);
  NodeId inert(NodeId callable, NodeId arguments, Made made);
  NodeId parts_of(NodeId callable, std::span<const NodeId> arguments);
  void refuse_code(std::string_view module, std::string_view name, PickleUse::How how) const;
  void refuse_code(NodeId callable, NodeId arguments, Made made);
  void check_layout(NodeId arguments) const;
  Dims dims(NodeId node, const char* what) const;
  bool truth(NodeId node, const char* what) const;
  Dtype dtype_of_class(NodeId storage_class, std::string_view key);
  std::uint32_t number_of(std::string_view key);
  std::uint32_t location_number(NodeId location);

  NodeTable& nodes_;
  Index& index_;
  const OpenOptions& options_;
  const std::string& where_;
  std::unordered_map<NodeId, Known> known_;  // by the node of the name, which a pickle stores once
  // The keys of PyTorch's storages are 0, 1, 2, …: as long as they come in that order no index over them is needed.
  bool keys_are_numbers_ = true;
  FlatIndex<std::uint32_t> numbers_;  // of index_.storages, by key, once they do not
  std::map<std::string, std::uint32_t> location_numbers_;
  std::set<NodeId> states_;  // of tensors of derived classes: each has its own
  // What the last storage was of: most are of the same class and place.
  NodeId last_class_ = kNoNode, last_location_ = kNoNode;
  Dtype last_dtype_ = Dtype::uint8;
  std::uint32_t last_location_number_ = 0;
};

}  // namespace transload
