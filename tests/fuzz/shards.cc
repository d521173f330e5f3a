// The index of a model in shards, beside two shards that are there.
#include <cstdlib>
#include <fstream>

#include "transload/transload.h"

namespace {

std::filesystem::path made_folder() {
  using namespace transload;
  std::string name = (std::filesystem::temp_directory_path() / "transload-fuzz-XXXXXX").string();
  const std::filesystem::path folder = mkdtemp(name.data());
  for (const char* shard : {"a", "b"}) {
    StateDict state;
    state.set(shard, empty(Dims{2}, Dtype::float32));
    save(state, folder / (std::string(shard) + ".safetensors"));
  }
  return folder;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t nbytes) {
  using namespace transload;
  static const std::filesystem::path folder = made_folder();
  static const int removed_at_exit = std::atexit([] { std::filesystem::remove_all(folder); });
  (void)removed_at_exit;
  const std::filesystem::path index = folder / "model.index.json";
  std::ofstream(index, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(nbytes));
  try {
    const Index found = open(index);
    for (const File& file : found.files) {
      if (std::filesystem::path(file.name).parent_path() != folder) std::abort();
    }
  } catch (const Error&) {
  }
  return 0;
}
