// Golden files, damaged at random: an Error or the right tensors, every time, soon, and in little memory.
//
// TRANSLOAD_MUTATIONS says how many (10,000 by default), TRANSLOAD_SEED where to begin. Each is a file of its own: what
// fails is named by its number, and made again by TRANSLOAD_SEED=that number TRANSLOAD_MUTATIONS=1.
#include <rapidjson/document.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>

#include "archive/tar.h"
#include "archive/zip_read.h"
#include "fuzz/memory_file.h"
#include "golden.h"
#include "io/crc32.h"
#include "transload/scan.h"
#include "transload/transload.h"

namespace transload {
namespace {

using Random = std::mt19937_64;
constexpr std::size_t kMaxGoldenNbytes = 256 << 10;
constexpr double kMaxSeconds = 2;
constexpr std::uint64_t kMaxMemory = 256 << 20;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text ? std::stoull(text) : otherwise;
}

// Everything that a state dict holds, as text: values, tensors with their storages, and what is in those.
std::string digest(const StateDict& state) {
  std::string text = str(state.root(), 1 << 16);
  for (const NamedTensor& named : state.tensors()) {
    const Tensor tensor = named.value.tensor();
    text += "\n" + named.name + " " + std::to_string(named.value.storage_number()) + " " +
            tensor.shape().str() + tensor.stride().str() + std::to_string(tensor.storage_offset()) +
            std::string(name(tensor.dtype()));
  }
  for (const Storage& storage : state.storages()) {
    const auto crc32 = storage.device() == kCpu ? crc32_of({storage.data(), storage.nbytes()}) : 0;
    text += "\n" + std::to_string(storage.nbytes()) + " " + std::to_string(crc32);
  }
  return text;
}

LoadOptions to_cpu(bool verify) {
  return {.map_location = "cpu",
          .verify = verify,
          .memory_limits = {{kCpu, kMaxMemory / 4}},
          .io = {.staging_nbytes = 1 << 20, .threads = 1}};
}

struct Golden {
  std::string name, bytes;
  std::string digest;
  bool is_checked;  // it loads, and each of its bytes that matter has a checksum
};

bool is_checked(const std::filesystem::path& path) {
  try {
    ZipContainer zip(open_file(path));
    if (!zip.damage().empty()) return false;
    for (const Member& member : zip.members()) {
      if (member.nbytes && !member.crc32) return false;
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::vector<Golden> read_goldens() {
  std::vector<Golden> goldens;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(golden::kData)) {
    const std::string suffix = entry.path().extension();
    if (entry.is_regular_file() && entry.file_size() <= kMaxGoldenNbytes &&
        (suffix == ".pt" || suffix == ".safetensors" || suffix == ".pkl"))
      paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  for (const auto& path : paths) {
    Golden made{path.filename(), golden::file_text(path), "", is_checked(path)};
    try {
      made.digest = digest(load(path, to_cpu(true)));
    } catch (const Error&) {
      made.is_checked = false;
    }
    goldens.push_back(std::move(made));
  }
  return goldens;
}

std::size_t below(Random& random, std::size_t end) { return end ? random() % end : 0; }

// One place of a file is changed. `other` is what splices take from.
std::string mutated(std::string bytes, const std::string& other, Random& random) {
  if (bytes.empty()) return other.substr(0, below(random, other.size() + 1));
  const std::size_t at = below(random, bytes.size());
  const std::size_t length =
      1 + below(random, std::min<std::size_t>(bytes.size() - at, random() % 4 ? 64 : 65536));
  switch (random() % 10) {
    case 0:
      bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8);
      return bytes;
    case 1:
      for (std::size_t i = at; i < at + length; ++i) bytes[i] = static_cast<char>(random());
      return bytes;
    case 2: {  // a number, as lengths and offsets are
      const std::uint64_t numbers[] = {0,
                                       1,
                                       0x7F,
                                       0x80,
                                       0xFFFF,
                                       0x7FFFFFFF,
                                       0x80000000,
                                       0xFFFFFFFF,
                                       1ull << 32,
                                       ~0ull >> 1,
                                       1ull << 63,
                                       ~0ull,
                                       bytes.size(),
                                       bytes.size() - 1,
                                       bytes.size() + 1,
                                       at,
                                       random()};
      const std::uint64_t number = numbers[random() % std::size(numbers)];
      std::memcpy(bytes.data() + at, &number,
                  std::min<std::size_t>(std::size_t{1} << random() % 4, bytes.size() - at));
      return bytes;
    }
    case 3: {  // near to what is there
      const auto near = static_cast<int>(random() % 17) - 8;
      bytes[at] = static_cast<char>(bytes[at] + near);
      return bytes;
    }
    case 4:
      return bytes.substr(0, at);
    case 5:
      return bytes.erase(at, length);
    case 6:
      return bytes.insert(at, bytes.substr(below(random, bytes.size()), length));
    case 7: {  // a part of another file, in its place
      const std::size_t from = below(random, other.size());
      return bytes.replace(at, length, other.substr(from, length));
    }
    case 8:
      return bytes.substr(0, at) + other.substr(below(random, other.size()));
    default:
      return bytes.substr(at) + other;
  }
}

// What a file of safetensors says of its tensors, read by another reader: they are what is loaded.
std::string fault_of_safetensors(const std::string& bytes, const StateDict& state) {
  std::uint64_t nbytes = 0;
  std::memcpy(&nbytes, bytes.data(), 8);
  rapidjson::Document header;
  header.Parse<rapidjson::kParseIterativeFlag>(bytes.data() + 8, nbytes);
  if (header.HasParseError() || !header.IsObject()) return "the header is no object";
  std::size_t count = 0;
  for (const auto& member : header.GetObject()) {
    const std::string key(member.name.GetString(), member.name.GetStringLength());
    if (key == "__metadata__") continue;
    ++count;
    if (!state.contains(key)) return key + " is missing";
    const Tensor tensor = state[key].tensor();
    if (info(tensor.dtype()).safetensors != member.value["dtype"].GetString())
      return key + ": another dtype";
    const auto& shape = member.value["shape"];
    if (tensor.shape().size() != shape.Size()) return key + ": another shape";
    for (rapidjson::SizeType d = 0; d < shape.Size(); ++d) {
      const bool pairs = tensor.dtype() == Dtype::float4_e2m1fn_x2 && d + 1 == shape.Size();
      if (tensor.shape()[d] * (pairs ? 2 : 1) != shape[d].GetInt64())
        return key + ": another shape";
    }
    const auto &begin = member.value["data_offsets"][0], &end = member.value["data_offsets"][1];
    const std::string_view expected = std::string_view(bytes).substr(
        8 + nbytes + begin.GetUint64(), end.GetUint64() - begin.GetUint64());
    if (tensor.nbytes() != expected.size() ||
        (!expected.empty() && std::memcmp(tensor.data(), expected.data(), expected.size()) != 0))
      return key + ": other bytes";
  }
  return count > state.size() ? "tensors that are not in the file" : "";
}

// Why what was loaded of a mutated file is wrong; empty: it is not, or nothing was loaded.
std::string fault_of(const std::string& bytes, const std::filesystem::path& path,
                     const Golden& golden, const Golden& other) {
  StateDict state;
  try {
    state = load(path, to_cpu(true));
  } catch (const Error& error) {
    if (std::strlen(error.what()) < 10) return "an error that says nothing";
    return "";
  }
  // Nothing else has checksums, or another reader here.
  const bool is_safetensors =
      bytes.size() > 8 && bytes[8] == '{' && bytes[0] != '\x80' && !is_tar(bytes);
  if (is_safetensors) return fault_of_safetensors(bytes, state);
  if (!bytes.starts_with("PK\3\4")) return "";
  if (!golden.is_checked || !other.is_checked) return "";
  const std::string found = digest(state);
  if (found == golden.digest || found == other.digest) return "";
  return "loaded, and is not what was saved:\n" + found;
}

std::uint64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) << 10;
  }
  return 0;
}

TEST(Mutations, OfGoldenFilesGiveAnErrorOrTheRightTensors) {
  const std::vector<Golden> goldens = read_goldens();
  ASSERT_GT(goldens.size(), 100u);
  fuzz::MemoryFile memory;
  const std::filesystem::path path = memory.path();
  const std::uint64_t first = from_environment("TRANSLOAD_SEED", 0),
                      count = from_environment("TRANSLOAD_MUTATIONS", 10'000);
  std::uint64_t loaded = 0;
  double slowest = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    Random random(seed * 0x9E3779B97F4A7C15ull + 1);
    const Golden& golden = goldens[random() % goldens.size()];
    const Golden& other = goldens[random() % goldens.size()];
    const std::string bytes = mutated(golden.bytes, other.bytes, random);
    memory.set({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
    const auto start = std::chrono::steady_clock::now();
    const std::string fault = fault_of(bytes, path, golden, other);
    try {
      load(path, to_cpu(false));  // without the checksums it comes further
      ++loaded;
    } catch (const Error&) {
    }
    scan(path);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    slowest = std::max(slowest, seconds.count());
    EXPECT_EQ(fault, "") << "mutation " << seed << " of " << golden.name << ", with " << other.name;
    EXPECT_LT(seconds.count(), kMaxSeconds) << "mutation " << seed << " of " << golden.name;
    if (HasFailure()) break;
  }
  EXPECT_LT(peak_memory(), kMaxMemory);
  std::printf(
      "%lu mutations of %zu files, %lu of them loaded; the slowest took %.3f s; %lu MB at most\n",
      count, goldens.size(), loaded, slowest, peak_memory() >> 20);
}

// What the fuzzers of tests/fuzz have found, once.
TEST(Mutations, FilesThatWereReadWrongOnceAreRefused) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden::kData / "found")) {
    const auto load_and_name = [&] {
      const StateDict state = load(entry.path(), to_cpu(true));
      state.tensors();
    };
    EXPECT_THROW(load_and_name(), Error) << entry.path();
    ++count;
  }
  EXPECT_GT(count, 0);
}

}  // namespace
}  // namespace transload
