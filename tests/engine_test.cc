// Loads, fills and saves with devices: on the emulated driver, which counts every byte.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "device/cuda_device.h"
#include "device/cuda_driver.h"
#include "device/cuda_stream.h"
#include "emulated.h"
#include "mixed_model.h"
#include "transload/transload.h"

namespace transload {
namespace {

namespace fs = std::filesystem;
constexpr int kDevices = 3;
constexpr std::uint64_t kDeviceNbytes = 256ull << 20;

class OnEmulatedDevices : public testing::Test {
 protected:
  void SetUp() override {
    // Once: the devices stay as they are while a context is alive.
    static const int configured = emulated_.find<decltype(fake_cuda_configure)>(
        "fake_cuda_configure")(kDevices, kDeviceNbytes);
    ASSERT_NE(configured, 0);
    reset();
    std::string name = (fs::temp_directory_path() / "transload-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    state_ = mixed_model();
    file_ = folder_ / "model.pt";
    save(state_, file_,
         {.locations = {"head.bias:cuda:1", "wide:cuda:2", "encoder.bias:cpu", "cuda:0"}});
  }
  void TearDown() override {
    reset();
    fs::remove_all(folder_);
  }
  void reset() { emulated_.find<decltype(fake_cuda_reset)>("fake_cuda_reset")(); }
  void expect_same(const StateDict& loaded) {
    for (const NamedTensor& t : state_.tensors()) {
      EXPECT_EQ(element_bytes(loaded.tensor(t.name)), element_bytes(t.value.tensor())) << t.name;
    }
    EXPECT_EQ(loaded["embed.weight"].storage_number(), loaded["head.weight"].storage_number());
  }
  void expect_same_values(const StateDict& live) {
    for (const NamedTensor& t : state_.tensors()) {
      EXPECT_EQ(element_bytes(live.tensor(t.name)), element_bytes(t.value.tensor())) << t.name;
    }
  }
  // Memory is given back in stream order: asking for the device's memory waits for that.
  std::uint64_t alive(int device) {
    memory_use(cuda(device));
    return emulated_.counters(device).allocations_alive;
  }
  StateDict live_on(Device device) {
    StateDict live;
    for (const NamedTensor& t : state_.tensors()) {
      live.set(t.name, zeros(t.value.tensor().shape(), Dtype::float32, device));
    }
    return live;
  }

  Emulated emulated_;
  fs::path folder_, file_;
  StateDict state_;
};

TEST_F(OnEmulatedDevices, EachByteOfAPlanCrossesOnceFromPinnedMemoryAndNoOtherDeviceIsTouched) {
  const std::map<std::string, MapLocation> kinds = {
      {"where saved", {}},
      {"text", "cuda:1"},
      {"cpu", "cpu"},
      {"table", {"cuda:0=cuda:2", "cuda:1=cpu", "cuda:2=cuda:2"}},
      {"function",
       MapLocation(MapLocation::Function([](const MapLocation::Stored& s) -> std::optional<Device> {
         return s.nbytes > 100'000 ? std::optional(cuda(1)) : std::nullopt;
       }))},
      {"auto", "auto"},
      {"keys", {"encoder.*:cuda:1", "e*:cuda:2", "h*:cuda:2", "cpu"}},
  };
  for (const auto& [name, map_location] : kinds) {
    SCOPED_TRACE(name);
    const Index index = open(file_);
    const Plan plan =
        plan_load(index, {.map_location = map_location}, memory_for(index, map_location));
    std::map<Device, std::uint64_t> planned;
    for (const DeviceNeed& need : plan.devices) planned[need.device] = need.storage_nbytes;
    std::vector<FakeCudaCounters> before;
    for (int d = 0; d < kDevices; ++d) before.push_back(emulated_.counters(d));
    {
      const StateDict loaded = load(file_, {.map_location = map_location});
      for (int d = 0; d < kDevices; ++d) {
        const FakeCudaCounters after = emulated_.counters(d);
        EXPECT_EQ(after.to_device - before[static_cast<std::size_t>(d)].to_device,
                  planned.contains(cuda(d)) ? planned[cuda(d)] : 0)
            << d;
        EXPECT_EQ(after.unpinned, 0u) << d;
        if (!planned.contains(cuda(d))) {
          EXPECT_EQ(after.contexts_alive, before[static_cast<std::size_t>(d)].contexts_alive) << d;
        }
      }
      expect_same(loaded);
    }
    for (int d = 0; d < kDevices; ++d) EXPECT_EQ(alive(d), 0u) << d;
    EXPECT_EQ(emulated_.find<decltype(fake_cuda_pinned_nbytes)>("fake_cuda_pinned_nbytes")(), 0u);
  }
}

TEST_F(OnEmulatedDevices, MemoryGrowsByThePlansFigureToTheByte) {
  const auto before = memory_use(cuda(0)).allocated;
  const Index index = open(file_);
  const Plan plan = plan_load(index, {.map_location = "cuda:0"}, memory_for(index, "cuda:0"));
  const StateDict loaded = load(file_, {.map_location = "cuda:0"});
  ASSERT_EQ(plan.devices.size(), 1u);
  EXPECT_EQ(memory_use(cuda(0)).allocated - before, plan.devices[0].allocated);
}

TEST_F(OnEmulatedDevices, AutoFillsTheDevicesThatHaveRoom) {
  const StateDict loaded = load(file_, {.map_location = "auto"});
  EXPECT_EQ(loaded.tensor("wide").device().kind, DeviceKind::cuda);
  expect_same(loaded);
}

TEST_F(OnEmulatedDevices, LateStreamsChangeNothing) {
  emulated_.find<decltype(fake_cuda_delay)>("fake_cuda_delay")(2000);
  expect_same(load(file_, {.map_location = "cuda:0"}));
}

TEST_F(OnEmulatedDevices, BorrowedMemoryIsFilledInPlace) {
  const Tensor home = zeros({1000, 700}, Dtype::float32, cuda(0));
  int uses = 0;
  const std::shared_ptr<void> owner(&uses, [](void* p) { ++*static_cast<int*>(p); });
  {
    StateDict live;
    live.set("encoder.weight", Tensor(Storage(cuda(0), home.data(), home.nbytes(), owner),
                                      Dtype::float32, {1000, 700}, {700, 1}));
    const auto before = emulated_.counters(0);
    load_into(live, file_, {.strict = false});
    EXPECT_EQ(emulated_.counters(0).allocations, before.allocations);
    EXPECT_EQ(emulated_.counters(0).to_device - before.to_device, home.nbytes());
  }
  EXPECT_EQ(element_bytes(home), element_bytes(state_.tensor("encoder.weight")));
  EXPECT_EQ(uses, 0);  // this test holds the owner still
}

TEST_F(OnEmulatedDevices, LiveTensorsAreFilledAfterWhatTheCallersStreamHasQueued) {
  const CudaDriver& driver = *cuda_driver();
  StateDict live;
  live.set("encoder.weight", zeros({1000, 700}, Dtype::float32, cuda(0)));
  const Tensor target = live.tensor("encoder.weight");
  CudaDevice user(driver, cuda(0));  // as PyTorch: the same primary context, a stream of its own
  const CurrentContext current(user.context());
  CudaStream theirs(user.context(), CU_STREAM_NON_BLOCKING);
  const std::vector<std::byte> old(target.nbytes(), std::byte{7});
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(driver.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(target.data()), old.data(),
                                       old.size(), theirs.handle()),
              CUDA_SUCCESS);
  }
  emulated_.find<decltype(fake_cuda_delay)>("fake_cuda_delay")(3000);
  load_into(live, file_,
            {.strict = false,
             .io = {.streams = {{cuda(0), reinterpret_cast<std::uintptr_t>(theirs.handle())}}}});
  theirs.synchronize();
  EXPECT_EQ(element_bytes(target), element_bytes(state_.tensor("encoder.weight")));
}

TEST_F(OnEmulatedDevices, CastsAndStridesReachADevice) {
  StateDict live;
  const Tensor home = zeros({700, 1000}, Dtype::float64, cuda(0));
  live.set("encoder.weight", Tensor(home.storage(), Dtype::float64, {1000, 700}, {1, 1000}));
  live.set("part", zeros({10}, Dtype::float16, cuda(1)));
  // Element by element to a transposed target: slow, and right.
  load_into(live, file_, {.strict = false});
  EXPECT_EQ(str(to(live.tensor("part"), kCpu)),
            "tensor([ 83.,  85.,  87.,  89.,  91.,  93.,  95.,  97.,  99., 101.],\n       "
            "dtype=torch.float16)");
  const auto bytes = element_bytes(live.tensor("encoder.weight"));
  double last;
  std::memcpy(&last, bytes.data() + bytes.size() - 8, 8);
  EXPECT_EQ(last, 700'000.0);
}

TEST_F(OnEmulatedDevices, AStateDictMovesBetweenDevices) {
  const StateDict source = load(file_, {.map_location = "cuda:2"});
  const StateDict live = live_on(cuda(0));
  load_state_dict(live, source);
  expect_same_values(live);
}

}  // namespace
}  // namespace transload
