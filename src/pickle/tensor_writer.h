// Writes the tensors and storages of a pickle, as the calls and persistent ids that PyTorch loads.
#pragma once

#include <span>

#include "pickle/pickle_output.h"
#include "pickle/writer.h"
#include "values/node_table.h"

namespace transload {

class TensorWriter {
 public:
  TensorWriter(const NodeTable& nodes, std::span<const StorageRecord> records, PickleOutput& out)
      : nodes_(nodes), records_(records), out_(out) {}

  void write_storage(std::uint32_t number);
  // A tensor or Parameter without attributes.
  void write(NodeId node);
  // Begins the call that makes a tensor with attributes. They are its last argument, which the caller writes, followed by TUPLE
  // and REDUCE.
  void begin_with_attributes(NodeId node);

 private:
  bool is_on_meta(NodeId node) const;
  bool is_untyped(NodeId node) const;
  bool requires_grad(NodeId node) const;
  const char* function_of(NodeId node) const;
  void write_storage_class(Dtype dtype);
  void write_call(NodeId node);
  void write_parameter_arguments(NodeId node);
  void write_arguments(NodeId node);
  void write_meta_arguments(NodeId node);
  void write_stored_arguments(NodeId node);
  void set_bit(std::string_view name);
  void write_dims(std::span<const std::int64_t> values);

  const NodeTable& nodes_;
  std::span<const StorageRecord> records_;
  PickleOutput& out_;
};

}  // namespace transload
