// Loads on the CPU: plans, selection, casts, files that change meanwhile.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "small_model.h"

namespace transload {
namespace {

namespace fs = std::filesystem;

const fs::path kData = TRANSLOAD_DATA;

using Load = TestFolder;

TEST_F(Load, TagsOfDevicesThatAreNotHereNameTheMapping) {
  const std::string text = message([] { load(kData / "torch-2.13/location_mps.zip.pt"); });
  EXPECT_NE(text.find("saved on \"mps\""), std::string::npos) << text;
  EXPECT_NE(text.find("mps=cpu"), std::string::npos) << text;
  EXPECT_NO_THROW(load(kData / "torch-2.13/location_mps.zip.pt", {.map_location = "cpu"}));
}

TEST_F(Load, MetaReadsNoBytes) {
  save(small_model(), path("m.pt"));
  const Index index = open(path("m.pt"));
  const Plan plan = plan_load(index, {.map_location = "meta"}, memory_for(index, "meta"));
  EXPECT_EQ(plan.transfer_nbytes, 0u);
  EXPECT_EQ(load(path("m.pt"), {.map_location = "meta"}).tensor("net1.bias").device(), kMeta);
}

TEST_F(Load, ThePlanCountsEveryByteOnce) {
  save(small_model(), path("m.pt"));
  const Index index = open(path("m.pt"));
  const Plan plan = plan_load(index, {}, memory_for(index, {}));
  ASSERT_EQ(plan.devices.size(), 1u);
  EXPECT_EQ(plan.devices[0].storage_nbytes, 484u);
  EXPECT_EQ(plan.transfer_nbytes, 484u);
  EXPECT_EQ(plan.memories.size(), 1u);  // small storages lie in one slab
  const auto before = memory_use(kCpu).allocated;
  const StateDict state = load(path("m.pt"));
  EXPECT_EQ(memory_use(kCpu).allocated - before, plan.devices[0].allocated);
}

TEST_F(Load, RulesThatTearAStorageApartNameBothKeys) {
  const Tensor tied = counted({8}, 0);
  StateDict state;
  state.set("embed.weight", tied);
  state.set("head.weight", tied);
  save(state, path("t.pt"));
  const Index index = open(path("t.pt"));
  std::vector<MemoryUse> memory = memory_for(index, {});
  const std::string text = message([&] {
    plan_load(index, {.map_location = {"embed.*:cpu", "head.*:meta"}}, memory);
  });
  EXPECT_NE(text.find("\"embed.weight\" and \"head.weight\" share storage"), std::string::npos)
      << text;
}

TEST_F(Load, MemoryThatIsNotThereIsRefusedBeforeAnythingIsAllocated) {
  save(small_model(), path("m.pt"));
  const Index index = open(path("m.pt"));
  std::vector<MemoryUse> memory = memory_for(index, {});
  for (MemoryUse& use : memory)
    use.free = use.device == kCpu ? 100 : use.free, use.reserved = use.allocated;
  const std::string text = message([&] { plan_load(index, {}, memory); });
  EXPECT_NE(text.find("cpu: the plan needs"), std::string::npos) << text;
}

TEST_F(Load, SelectsAndRenames) {
  save(small_model(), path("m.pt"));
  LoadOptions options;
  options.select.keep = {"net1.*"};
  options.select.rename = {{"net1.*", "first.*"}};
  const StateDict state = load(path("m.pt"), options);
  EXPECT_EQ(state.size(), 2u);
  EXPECT_EQ(values(state.tensor("first.bias")), values(small_model().tensor("net1.bias")));
}

TEST_F(Load, CastsOnTheWay) {
  save(small_model(), path("m.pt"));
  const StateDict state = load(path("m.pt"), {.dtype = Dtype::float64});
  const Tensor wide = state.tensor("net1.weight");
  ASSERT_EQ(wide.dtype(), Dtype::float64);
  EXPECT_EQ(reinterpret_cast<const double*>(wide.data())[99], 99.0);
}

TEST_F(Load, WhatHasNoDtypeOfItsOwnIsNotCast) {
  const Tensor bytes = empty({4}, Dtype::float8_e4m3fn), alone = counted({2}, 0);
  std::memcpy(bytes.data(), "\x38\x40\x44\x48", 4);
  StateDict state;
  state.set("a", bytes);
  state.set("b", Tensor(bytes.storage(), Dtype::float8_e5m2, {4}, {1}));
  state.set("w", alone);
  save(state, path("m.pt"));
  const StateDict cast = load(path("m.pt"), {.dtype = Dtype::float16});
  EXPECT_EQ(cast.tensor("w").dtype(), Dtype::float16);
  EXPECT_EQ(cast.tensor("a").dtype(), Dtype::float8_e4m3fn);
  EXPECT_EQ(cast.tensor("b").dtype(), Dtype::float8_e5m2);
  EXPECT_EQ(element_bytes(cast.tensor("a")), element_bytes(bytes));
}

TEST_F(Load, APlanIsOfWhatIsSelectedAndSaysWhatWillBeThere) {
  save(small_model(), path("m.pt"));
  const Index index = open(path("m.pt"));
  LoadOptions options{.dtype = Dtype::float64};
  options.select.keep = {"net1.*"};
  options.select.rename = {{"net1.*", "first.*"}};
  const Plan plan = plan_load(index, options, memory_for(index, {}));
  EXPECT_EQ(plan.transfer_nbytes, 440u);
  EXPECT_EQ(plan.devices[0].storage_nbytes, 880u);
  ASSERT_EQ(plan.contents.size(), 2u);
  EXPECT_EQ(plan.contents.tensor("first.bias").dtype(), Dtype::float64);
  options.map_location = "meta";
  EXPECT_EQ(load(index, options).tensor("first.weight").dtype(), Dtype::float64);
}

TEST_F(Load, APartIsTheOneWithTheLongestNameThatFits) {
  StateDict inner, checkpoint;
  inner.set("c", counted({1}, 0));
  checkpoint.set("a", std::cref(inner));
  checkpoint.set("a/b", std::cref(inner));
  save(checkpoint, path("c.pt"));
  EXPECT_EQ(load(path("c.pt"), {.select = {.at = "a/b"}}).size(), 1u);
  EXPECT_EQ(load(path("c.pt"), {.select = {.at = "a"}}).size(), 1u);
  EXPECT_THROW(load(path("c.pt"), {.select = {.at = "a/d"}}), MismatchError);
}

TEST_F(Load, AFileReplacedAfterOpenIsStillTheOldOne) {
  for (const bool mapped : {false, true}) {
    for (const bool verify : {false, true}) {
      save(small_model(1), path("m.pt"));
      const Index index = open(path("m.pt"));
      save(small_model(2), path("m.pt"));
      const StateDict loaded = load(index, {.mapped = mapped, .verify = verify});
      EXPECT_EQ(values(loaded.tensor("net2.bias")), std::vector<float>{4});
      EXPECT_EQ(values(load(path("m.pt")).tensor("net2.bias")), std::vector<float>{5});
    }
  }
}

// By a program that opens it for writing, instead of writing beside it.
TEST_F(Load, AFileWrittenToAfterOpenIsNoticed) {
  save(small_model(1), path("m.pt"));
  save(small_model(2), path("other.pt"));
  const auto write_over = [&] {
    usleep(20'000);  // times of files go by ticks of some milliseconds
    std::ofstream(path("m.pt"), std::ios::binary) << std::ifstream(path("other.pt")).rdbuf();
  };
  const Index index = open(path("m.pt"));
  write_over();
  const std::string text = message([&] { load(index); });
  EXPECT_NE(text.find("was written to while it was read"), std::string::npos) << text;
  const Index again = open(path("m.pt"));
  write_over();
  EXPECT_THROW(load_into(small_model(7), again), IoError);
}

TEST_F(Load, AnExceptionOfTheProgressFunctionStopsTheLoad) {
  save(small_model(), path("m.pt"));
  LoadOptions options;
  options.io.progress = [](const Progress&) { throw std::runtime_error("stop"); };
  const auto before = memory_use(kCpu).allocated;
  EXPECT_THROW(load(path("m.pt"), options), std::runtime_error);
  EXPECT_EQ(memory_use(kCpu).allocated, before);
}

}  // namespace
}  // namespace transload
