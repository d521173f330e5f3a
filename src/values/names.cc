// The names of tensors: every tensor of a state dict, and the tensors over each storage.
#include "values/names.h"

#include "transload/error.h"
#include "types/checked.h"
#include "values/contents.h"
#include "values/walk.h"

namespace transload {

std::vector<NamedTensor> Value::tensors() const {
  // Without a bound, the names of deeply nested tensors could take any amount of memory.
  constexpr std::uint64_t kNamesNbytes = 16 << 20, kNamesPerNode = 256;
  const std::uint64_t max_nbytes = kNamesNbytes + kNamesPerNode * nodes().size();
  std::uint64_t nbytes = 0;
  std::vector<NamedTensor> found;
  Walk walk(nodes(), id_);
  while (walk.next()) {
    if (nodes().kind(walk.node()) != ValueKind::tensor) {
      walk.enter();
      continue;
    }
    nbytes += walk.path().size();
    if (nbytes > max_nbytes) {
      throw FormatError("its tensors nest so deep that their names take more than " +
                        human_bytes(max_nbytes));
    }
    found.push_back({std::string(walk.path()), Value(contents_, walk.node())});
  }
  return found;
}

std::vector<std::vector<std::string>> names_by_storage(const StateDict& state) {
  std::vector<std::vector<std::string>> names(state.storages().size());
  for (NamedTensor& tensor : state.tensors()) {
    const std::uint32_t s = tensor.value.storage_number();
    if (s != Value::kNoStorage) names[s].push_back(std::move(tensor.name));
  }
  return names;
}

std::string first_user(const StateDict& state, std::uint32_t storage) {
  for (const NamedTensor& named : state.tensors()) {
    if (named.value.storage_number() != storage) continue;
    const Tensor tensor = named.value.tensor();
    return '"' + named.name + "\" (" + std::string(name(tensor.dtype())) + " " +
           tensor.shape().str() + ")";
  }
  return "";
}

}  // namespace transload
