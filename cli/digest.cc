// Loads storages in batches to the CPU and hashes the elements of their tensors.
#include "digest.h"

#include <algorithm>
#include <memory>
#include <span>
#include <unordered_set>

#include <openssl/evp.h>

#include "transload/transload.h"

namespace transload::cli {
namespace {

constexpr std::uint64_t kBatchNbytes = 1'000'000'000;
constexpr std::uint64_t kBlockNbytes = 16 << 20;  // at most, of gathered elements
// Strides of 0 can repeat a few bytes any number of times. This bounds the repeated bytes of all
// tensors together.
constexpr std::uint64_t kMaxRepeated = 2'000'000'000;

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1)
      throw Error("OpenSSL does not support SHA-256");
  }
  void add(std::span<const std::byte> bytes) {
    EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
  }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &size);
    std::string text;
    for (unsigned i = 0; i < size; ++i) {
      constexpr char kDigits[] = "0123456789abcdef";
      text += kDigits[digest[i] >> 4];
      text += kDigits[digest[i] & 15];
    }
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

// Hashes the elements in row-major order. Gathers a large strided tensor in blocks, along its first
// dimension.
void add_elements(Sha256& sha, const Tensor& tensor) {
  if (tensor.nbytes() == 0) return;
  if (tensor.is_contiguous()) return sha.add({tensor.data(), tensor.nbytes()});
  if (tensor.nbytes() <= kBlockNbytes) return sha.add(element_bytes(tensor));
  const std::int64_t size = tensor.shape()[0];
  const Dims shape(std::span(tensor.shape()).subspan(1)),
      stride(std::span(tensor.stride()).subspan(1));
  if (shape.empty()) {  // one dimension with gaps
    constexpr std::int64_t kStep = 1 << 16;
    for (std::int64_t i = 0; i < size; i += kStep) {
      sha.add(
          element_bytes(Tensor(tensor.storage(), tensor.dtype(), {std::min(kStep, size - i)},
                               tensor.stride(), tensor.storage_offset() + i * tensor.stride()[0])));
    }
    return;
  }
  for (std::int64_t i = 0; i < size; ++i)
    add_elements(sha, Tensor(tensor.storage(), tensor.dtype(), shape, stride,
                             tensor.storage_offset() + i * tensor.stride()[0]));
}

// Returns the digest of a tensor on the CPU, or "" if it would exceed kMaxRepeated.
// `repeated_nbytes` is the sum of the bytes by which tensors exceed their storages so far.
std::string digest(const Tensor& tensor, std::uint64_t& repeated_nbytes) {
  const std::uint64_t stored = tensor.storage().nbytes();
  if (tensor.nbytes() > stored) {
    const std::uint64_t more = tensor.nbytes() - stored;
    if (more > kMaxRepeated - std::min(repeated_nbytes, kMaxRepeated)) return {};
    repeated_nbytes += more;
  }
  Sha256 sha;
  if (info(tensor.dtype()).bits < 8)
    sha.add({tensor.storage().data(), stored});
  else
    add_elements(sha, tensor);
  return sha.hex();
}

// Loads only these storages to the CPU. A storage is named by the first tensor that uses it.
StateDict load_only(const Index& index, const std::unordered_set<std::string>& first_names) {
  LoadOptions options;
  options.map_location =
      MapLocation([&](const MapLocation::Stored& stored) -> std::optional<Device> {
        return first_names.contains(std::string(stored.key)) ? kCpu : kMeta;
      });
  return load(index, options);
}

}  // namespace

std::vector<std::string> digests(const Index& index) {
  const std::vector<NamedTensor> tensors = index.contents.tensors();
  std::vector<std::string> found(tensors.size());
  std::vector<std::vector<std::size_t>> users(
      index.storages.size());  // by storage: the numbers of its tensors
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::uint32_t storage = tensors[i].value.storage_number();
    if (storage < users.size()) users[storage].push_back(i);
  }
  std::uint64_t repeated_nbytes = 0;
  for (std::size_t storage = 0; storage < users.size();) {
    std::unordered_set<std::string> first_names;
    const std::size_t begin = storage;
    for (std::uint64_t nbytes = 0; storage < users.size(); ++storage) {
      nbytes += index.storages[storage].nbytes;
      if (storage > begin && nbytes > kBatchNbytes) break;
      if (!users[storage].empty()) first_names.insert(tensors[users[storage].front()].name);
    }
    const StateDict loaded = load_only(index, first_names);
    const std::vector<NamedTensor> now = loaded.tensors();
    for (std::size_t s = begin; s < storage; ++s)
      for (const std::size_t i : users[s])
        found[i] = digest(now[i].value.tensor(), repeated_nbytes);
  }
  return found;
}

}  // namespace transload::cli
