// How much memory a large load takes, and what it reads. Each measured in a process of its own.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "emulated.h"
#include "own_process.h"
#include "transload/transload.h"

namespace transload {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kTensors = 64;
constexpr std::int64_t kNumel = 16 << 20;  // of bfloat16: 32 MiB each, 2 GiB in all
constexpr std::uint64_t kNbytes = kTensors * kNumel * 2;
// What a load may take beyond its destination: 64 MiB, and 300 bytes a tensor.
constexpr std::uint64_t kBound = (64ull << 20) + 300 * kTensors;

// A number of bytes out of a file of /proc/self: "VmHWM:  1234 kB", "rchar: 1234".
std::uint64_t proc(const char* file, const std::string& name) {
  std::ifstream in(std::string("/proc/self/") + file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(name + ":")) continue;
    const std::uint64_t number = std::stoull(line.substr(name.size() + 1));
    return line.ends_with(" kB") ? number * 1024 : number;
  }
  throw std::runtime_error("no " + name + " in /proc/self/" + file);
}

class TwoGigabytes : public testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() {
    std::string name = (fs::temp_directory_path() / "transload-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    in_own_process([] {
      StateDict state;
      for (std::int64_t i = 0; i < kTensors; ++i) {
        const Tensor tensor = empty({kNumel}, Dtype::bfloat16);
        std::memset(tensor.data(), static_cast<int>(i + 1), tensor.nbytes());
        state.set("layer." + std::to_string(i), tensor);
      }
      save(state, file());
      return "";
    });
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }
  static fs::path file() { return folder_ / "model.pt"; }

  inline static fs::path folder_;
};

TEST_F(TwoGigabytes, AreOpenedWithoutReadingThem) {
  const std::string read = in_own_process([] {
    const std::uint64_t before = proc("io", "rchar");
    const Index index = open(file());
    return std::to_string(proc("io", "rchar") - before);
  });
  EXPECT_LT(std::stoull(read), 1u << 20);
}

TEST_P(TwoGigabytes, AreLoadedWithinTheBound) {
  const std::uint64_t grown = std::stoull(in_own_process([] {
    const Emulated emulated;
    emulated.find<decltype(fake_cuda_configure)>("fake_cuda_configure")(1, 3ull << 30);
    const std::uint64_t before = proc("status", "VmRSS");
    const StateDict state = load(file(), {.map_location = GetParam()});
    return std::to_string(proc("status", "VmHWM") - before);
  }));
  EXPECT_GE(grown, kNbytes);
  EXPECT_LE(grown, kNbytes + kBound);
  RecordProperty("beyond_the_destination", std::to_string(grown - kNbytes));
  std::printf("%s: %.2f MiB beyond the destination\n", GetParam(),
              static_cast<double>(grown - kNbytes) / (1 << 20));
}

TEST_P(TwoGigabytes, FillLiveTensorsWithinTheBound) {
  const std::uint64_t grown = std::stoull(in_own_process([] {
    const Emulated emulated;
    emulated.find<decltype(fake_cuda_configure)>("fake_cuda_configure")(1, 3ull << 30);
    const StateDict live = load(file(), {.map_location = GetParam()});
    // The peak counts from here on: proc(5), clear_refs.
    std::ofstream("/proc/self/clear_refs") << 5 << std::flush;
    const std::uint64_t before = proc("status", "VmHWM");
    load_into(live, file());
    return std::to_string(proc("status", "VmHWM") - before);
  }));
  EXPECT_LE(grown, kBound);
  std::printf("%s: %.2f MiB beyond the live tensors\n", GetParam(),
              static_cast<double>(grown) / (1 << 20));
}

INSTANTIATE_TEST_SUITE_P(On, TwoGigabytes, testing::Values("cpu", "cuda:0"), [](const auto& param) {
  return std::string(param.param).substr(0, std::strcspn(param.param, ":"));
});

}  // namespace
}  // namespace transload
