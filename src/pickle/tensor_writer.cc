// Facts: torch/_utils.py, torch/_tensor.py and torch/serialization.py of PyTorch 2.13.
#include "pickle/tensor_writer.h"

namespace transload {

// ("storage", class, key, location, numel): torch/serialization.py, persistent_id
void TensorWriter::write_storage(std::uint32_t number) {
  const StorageRecord& record = records_[number];
  out_.add(Opcode::MARK);
  out_.repeated_text("storage");
  write_storage_class(record.dtype);
  out_.text(record.key);
  out_.repeated_text(record.location);
  out_.encoder().add_integer(static_cast<std::int64_t>(record.nbytes / itemsize(record.dtype)));
  out_.add(Opcode::TUPLE);
  out_.add(Opcode::BINPERSID);
}

void TensorWriter::write(NodeId node) {
  if (!nodes_.row(node).is_parameter) return write_call(node);
  out_.global("torch._utils", "_rebuild_parameter");
  write_parameter_arguments(node);
  out_.call(3);
}

void TensorWriter::begin_with_attributes(NodeId node) {
  if (nodes_.row(node).is_parameter) {
    out_.global("torch._utils", "_rebuild_parameter_with_state");
    out_.add(Opcode::MARK);
    return write_parameter_arguments(node);
  }
  out_.global("torch._tensor", "_rebuild_from_type_v2");
  out_.add(Opcode::MARK);
  out_.global("torch._utils", function_of(node));
  out_.global("torch", "Tensor");
  write_arguments(node);
}

bool TensorWriter::is_on_meta(NodeId node) const {
  const std::uint32_t storage = nodes_.row(node).storage;
  return storage == TensorRow::kNoStorage || records_[storage].key.empty();
}
// Of dtypes without a storage class of their own, as uint16: their storages are bytes.
bool TensorWriter::is_untyped(NodeId node) const {
  return info(nodes_.row(node).dtype).storage_class.empty();
}

void TensorWriter::write_storage_class(Dtype dtype) {
  const std::string_view typed = info(dtype).storage_class;
  if (typed.empty()) return out_.global("torch.storage", "UntypedStorage");
  out_.global("torch", dtype == Dtype::uint8 ? "ByteStorage" : typed);
}

const char* TensorWriter::function_of(NodeId node) const {
  if (is_on_meta(node)) return "_rebuild_meta_tensor_no_storage";
  return is_untyped(node) ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2";
}

void TensorWriter::write_call(NodeId node) {
  out_.global("torch._utils", function_of(node));
  write_arguments(node);
  out_.add(Opcode::REDUCE);
}

// (tensor, requires_grad, hooks)
void TensorWriter::write_parameter_arguments(NodeId node) {
  write_call(node);
  out_.boolean(nodes_.row(node).requires_grad);
  out_.empty_ordered_dict();
}

void TensorWriter::write_arguments(NodeId node) {
  out_.add(Opcode::MARK);
  is_on_meta(node) ? write_meta_arguments(node) : write_stored_arguments(node);
  out_.add(Opcode::TUPLE);
}

// (dtype, shape, stride, requires_grad)
void TensorWriter::write_meta_arguments(NodeId node) {
  out_.global("torch", name(nodes_.row(node).dtype));
  write_dims(nodes_.shape(node));
  write_dims(nodes_.stride(node));
  out_.boolean(requires_grad(node));
}

// (storage, storage offset, shape, stride, requires_grad, hooks[, dtype][, metadata])
void TensorWriter::write_stored_arguments(NodeId node) {
  const TensorRow& row = nodes_.row(node);
  write_storage(row.storage);
  const std::uint64_t bits = info(row.dtype).bits;
  out_.encoder().add_integer(row.storage_offset -
                             static_cast<std::int64_t>(records_[row.storage].begin * 8 / bits));
  write_dims(nodes_.shape(node));
  write_dims(nodes_.stride(node));
  out_.boolean(requires_grad(node));
  out_.empty_ordered_dict();
  if (is_untyped(node)) out_.global("torch", name(row.dtype));
  if (!row.conj && !row.neg) return;
  out_.add(Opcode::EMPTY_DICT);
  if (row.conj) set_bit("conj");
  if (row.neg) set_bit("neg");
}

// A Parameter's is an argument of its own call.
bool TensorWriter::requires_grad(NodeId node) const {
  return nodes_.row(node).requires_grad && !nodes_.row(node).is_parameter;
}

void TensorWriter::set_bit(std::string_view name) {
  out_.text(name);
  out_.boolean(true);
  out_.add(Opcode::SETITEM);
}

void TensorWriter::write_dims(std::span<const std::int64_t> values) {
  if (needs_mark(values.size())) out_.add(Opcode::MARK);
  for (const std::int64_t value : values) out_.encoder().add_integer(value);
  out_.add(tuple_opcode(values.size()));
}

}  // namespace transload
