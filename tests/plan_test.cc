// plan_load, plan_fill and plan_copy: what they decide, without a file or a device.
#include <gtest/gtest.h>

#include "plan/plans.h"
#include "small_model.h"

namespace transload {
namespace {

MemoryUse memory(Device device, std::uint64_t free) {
  MemoryUse use;
  use.device = device;
  use.free = use.total = free;
  use.granularity = use.alignment = 64;
  return use;
}

// One file that is never read: storages of so many bytes behind each other, each with a tensor of its own.
Index index_of(const std::vector<std::uint64_t>& sizes, Encoding encoding = Encoding::as_is) {
  Index index;
  index.format = "made by hand";
  index.files.push_back(file_in_memory("model", std::string()));
  index.locations = {"cpu"};
  std::uint64_t at = 1000;
  for (std::uint32_t s = 0; s < sizes.size(); ++s) {
    const Storage meta(kMeta, nullptr, sizes[s], std::make_shared<char>());
    const auto count = static_cast<std::int64_t>(sizes[s] / 4);
    index.contents.set("t" + std::to_string(s), Tensor(meta, Dtype::float32, {count}, {1}));
    index.storages.push_back({sizes[s], 0, 1, Dtype::float32, std::to_string(s)});
    index.pieces.push_back({s, 0, sizes[s], {0, at, sizes[s]}, encoding, 7});
    at += sizes[s];
  }
  return index;
}

StateDict live_for(const Index& index, Dtype dtype = Dtype::float32) {
  StateDict live;
  for (const NamedTensor& t : index.contents.tensors())
    live.set(t.name, zeros(t.value.tensor().shape(), dtype));
  return live;
}

Plan load_plan(const Index& index, const LoadOptions& options = {}) {
  return plan_load(index, options,
                   {memory(kCpu, 1 << 30), memory(kMeta, 0), memory(cuda(0), 1 << 30)});
}

TEST(PlanLoad, IsInTheOrderOfTheFileWhateverThatOfTheStorages) {
  Index index = index_of({400, 400, 400});
  std::swap(index.pieces[0].extent.offset, index.pieces[2].extent.offset);
  const Plan plan = load_plan(index);
  ASSERT_EQ(plan.transfers.size(), 3u);
  EXPECT_EQ(plan.transfers[0].label, 2u);
  EXPECT_EQ(plan.transfers[2].label, 0u);
  EXPECT_LT(plan.transfers[0].from.offset, plan.transfers[1].from.offset);
}

TEST(PlanLoad, CutsLongStoragesIntoSlots) {
  const std::uint64_t nbytes = 10 << 20;
  const Plan plan = load_plan(index_of({nbytes}));
  ASSERT_GT(plan.transfers.size(), 1u);
  std::uint64_t at = 0;
  for (const Transfer& t : plan.transfers) {
    EXPECT_LE(t.nbytes, plan.slot_nbytes);
    EXPECT_EQ(t.from.offset, 1000 + at);
    EXPECT_EQ(t.to.offset, at);
    at += t.nbytes;
  }
  EXPECT_EQ(at, nbytes);
}

TEST(PlanLoad, NeedsNoStagingForBytesThatGoStraightToTheHost) {
  EXPECT_EQ(load_plan(index_of({1 << 20})).staging_nbytes, 0u);
  EXPECT_GT(load_plan(index_of({1 << 20}), {.map_location = "cuda:0"}).staging_nbytes, 0u);
  EXPECT_GT(load_plan(index_of({1 << 20}), {.dtype = Dtype::float64}).staging_nbytes, 0u);
  EXPECT_GT(load_plan(index_of({1 << 20}, Encoding::deflated)).staging_nbytes, 0u);
}

TEST(PlanLoad, ChecksPiecesOnTheWayOnlyIfAskedTo) {
  EXPECT_TRUE(load_plan(index_of({400, 400})).checked.empty());
  EXPECT_EQ(load_plan(index_of({400, 400}), {.verify = true}).checked.size(), 2u);
}

TEST(PlanLoad, SaysHowEachFileIsRead) {
  const Index index = index_of({400, 400});
  const Plan read = load_plan(index), mapped = load_plan(index, {.mapped = true});
  ASSERT_EQ(read.inputs.size(), 1u);
  EXPECT_EQ(read.inputs[0].how, How::cached);
  EXPECT_EQ(read.inputs[0].nbytes, 800u);
  EXPECT_EQ(mapped.inputs[0].how, How::mapped);
  EXPECT_EQ(mapped.transfer_nbytes, 0u);
  EXPECT_NE(str(mapped).find("by mapping it"), std::string::npos);
}

TEST(PlanLoad, OfSomeStoragesPlacesNoOthers) {
  const Index index = index_of({400, 400, 400});
  const Plan plan =
      plan_load_of(index, {}, {memory(kCpu, 1 << 30), memory(kMeta, 0)}, {false, true, false});
  ASSERT_EQ(plan.transfers.size(), 1u);
  EXPECT_EQ(plan.transfers[0].label, 1u);
  EXPECT_EQ(plan.placements[0].memory, Placement::kNowhere);
}

TEST(PlanFill, GoesStraightIntoTheLiveStorages) {
  const Index index = index_of({400, 800});
  const StateDict live = live_for(index);
  const Plan plan = plan_load_into(live, index, {});
  ASSERT_EQ(plan.transfers.size(), 2u);
  EXPECT_EQ(plan.staging_nbytes, 0u);
  EXPECT_EQ(plan.devices[0].filled_nbytes, 1200u);
  EXPECT_EQ(plan.devices[0].allocated, 0u);
  for (const Memory& m : plan.memories) EXPECT_TRUE(m.existing);
  EXPECT_EQ(plan.keys, (std::vector<std::string>{"t0", "t1"}));
}

TEST(PlanFill, ReadsOnceWhatTiedLiveTensorsShare) {
  const Index index = index_of({400, 400});
  const Tensor tied = zeros({100}, Dtype::float32);
  StateDict live;
  live.set("t0", tied);
  live.set("t1", tied);
  const Plan plan = plan_load_into(live, index, {});
  ASSERT_EQ(plan.transfers.size(), 1u);
  EXPECT_EQ(plan.keys, std::vector<std::string>{"t1"});  // the last one's values stay, as in torch
}

TEST(PlanCopy, IsOneTransferWithinAStorage) {
  const Tensor home = zeros({3 << 20}, Dtype::float32);
  const Tensor from(home.storage(), Dtype::float32, {2 << 20}, {1}),
      to(home.storage(), Dtype::float32, {2 << 20}, {1}, 1 << 20);
  const Plan plan = plan_copy({{{"t", from, to, 0}}, {}}, {});
  ASSERT_EQ(plan.transfers.size(), 1u);  // as memmove: several would overtake each other
  EXPECT_EQ(plan.transfers[0].nbytes, 8u << 20);
  EXPECT_EQ(plan.staging_nbytes, 0u);
}

TEST(PlanCopy, StagesASmallTensorInAsLittle) {
  const Storage there(cuda(0), nullptr, 40, std::make_shared<char>());
  const Tensor from(there, Dtype::float32, {10}, {1}), to = zeros({10}, Dtype::float32);
  const Plan plan = plan_copy({{{"t", from, to, 0}}, {}}, {});
  EXPECT_LE(plan.staging_nbytes, 2u * 4096);
  EXPECT_GT(plan.staging_nbytes, 0u);
}

}  // namespace
}  // namespace transload
