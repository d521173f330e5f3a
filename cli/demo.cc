// demo: runs the story of examples/story.h on a GPU, or on the emulated driver if there is no GPU.
#include <stdlib.h>

#include <algorithm>
#include <iostream>

#include "commands.h"
#include "story.h"

namespace transload::cli {
namespace {

namespace fs = std::filesystem;

// Returns the emulated driver's path: in the installation, or in the build folder.
fs::path emulated_driver() {
  const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
  const fs::path places[] = {here / "../lib/transload/emulated/libcuda.so.1",
                             here / "emulated/libcuda.so.1"};
  for (const fs::path& place : places)
    if (fs::exists(place)) return fs::weakly_canonical(place);
  throw Error("this machine has no GPU, and the emulated driver is neither at " +
              places[0].lexically_normal().string() + " nor at " + places[1].string());
}

bool has_gpu() {
  const std::vector<Device> all = devices();
  return std::any_of(all.begin(), all.end(),
                     [](Device device) { return device.kind == DeviceKind::cuda; });
}

// A new folder. The destructor removes it with its contents.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "transload-demo-XXXXXX").string();
    if (!mkdtemp(name.data()))
      throw Error(fs::temp_directory_path().string() + ": cannot create a folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

int demo(const fs::path& folder) {
  if (!has_gpu()) use_cuda_driver(emulated_driver());
  if (!folder.empty()) {
    fs::create_directories(folder);
    return tell_story(std::cout, folder);
  }
  const TemporaryFolder temporary;
  return tell_story(std::cout, temporary.path());
}

}  // namespace transload::cli
