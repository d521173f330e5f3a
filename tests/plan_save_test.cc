// plan_save and plan_convert: how files are written, and elements gathered on their way there.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "io/crc32.h"
#include "io/file.h"
#include "plan/box.h"
#include "plan/plans.h"
#include "small_model.h"
#include "transfer/engine.h"
#include "transfer/memories.h"
#include "transfer/output_files.h"
#include "writing.h"

namespace transload {
namespace {

namespace fs = std::filesystem;
using PlanSave = TestFolder;

Layout layout_of(const Tensor& tensor, std::uint64_t offset, std::shared_ptr<const Box> box = {}) {
  Layout layout;
  layout.contents.set("w", tensor);
  layout.files.push_back({"", offset + tensor.nbytes()});
  layout.pieces.push_back({0,
                           0,
                           tensor.nbytes(),
                           {0, offset, tensor.nbytes()},
                           Encoding::as_is,
                           {},
                           std::move(box),
                           static_cast<std::uint8_t>(itemsize(tensor.dtype()))});
  return layout;
}

// From the order of the storage to that of the tensor's elements.
std::shared_ptr<const Box> gathering(const Tensor& tensor) {
  return std::make_shared<const Box>(
      Box{tensor.shape(), tensor.stride(), contiguous_strides(tensor.shape()),
          static_cast<std::uint64_t>(tensor.storage_offset()) * itemsize(tensor.dtype()), 0});
}

TEST_F(PlanSave, GoesPastThePageCacheOnlyWhereItPaysAndIsPossible) {
  const Tensor large = zeros({1 << 20}, Dtype::float32), small = zeros({10}, Dtype::float32);
  const auto how = [](const Tensor& tensor, bool has_direct) {
    const Layout layout = layout_of(tensor, 64);
    return plan_save(layout.contents.storages(), layout, {has_direct, true}, {}).outputs[0];
  };
  EXPECT_EQ(how(large, true).how, How::direct);
  EXPECT_EQ(how(large, false).how, How::cached);
  EXPECT_EQ(how(small, true).how, How::cached);
  for (const FileUse& use : {how(large, true), how(large, false), how(small, true)})
    EXPECT_FALSE(use.why.empty());
}

TEST_F(PlanSave, BeginsAllButTheFirstTransferWithAPageOfTheFile) {
  const Tensor large = zeros({4 << 20}, Dtype::float32);
  const Layout layout = layout_of(large, 192);
  const Plan plan = plan_save(layout.contents.storages(), layout, {true, true}, {});
  ASSERT_GT(plan.transfers.size(), 2u);
  for (std::size_t t = 1; t < plan.transfers.size(); ++t)
    EXPECT_EQ(plan.transfers[t].to.offset % 4096, 0u);
}

TEST_F(PlanSave, WithABoxWritesElementsInTheOrderOfTheFile) {
  std::vector<std::size_t> order{0, 1, 2};
  do {
    for (const Dims& shape : {Dims{2, 3, 4}, Dims{70, 90, 110}}) {
      Dims stride{0, 0, 0};
      std::int64_t step = 1;
      for (std::size_t i = 3; i-- > 0; step *= shape[order[i]]) stride[order[i]] = step;
      const Tensor home = counted({step + 5}, 1);
      const Tensor view(home.storage(), Dtype::float32, shape, stride, 5);
      const Layout layout = layout_of(view, 100, gathering(view));
      OutputFiles files(path("out"), layout);
      const Plan plan =
          plan_save(layout.contents.storages(), layout, {files.has_direct(), true}, {});
      const std::vector<Storage> memories = memories_of(plan);
      Outcome outcome;
      run(plan, {nullptr, memories, &layout, files.files()}, {}, outcome);
      files.commit();
      const File written = open_file(path("out"));
      std::vector<std::byte> bytes(view.nbytes());
      read_at(written, 100, bytes);
      EXPECT_EQ(bytes, element_bytes(view)) << shape.str() << " " << stride.str();
      ASSERT_EQ(outcome.wrote_crc32.size(), 1u);
      EXPECT_EQ(outcome.wrote_crc32[0], crc32_of(bytes));
    }
  } while (std::ranges::next_permutation(order).found);
}

TEST_F(PlanSave, WithABoxIsConvertedFromAFile) {
  for (const Dims& shape : {Dims{3, 4}, Dims{1500, 1100}}) {
    const Tensor home = counted(shape, 1);
    StateDict state;
    state.set("w", home);
    save(state, path("m.pt"));
    const Index index = open(path("m.pt"));
    const Tensor turned(index.contents.storages()[0], Dtype::float32, {shape[1], shape[0]},
                        {1, shape[1]});
    const Layout layout = layout_of(turned, 4096, gathering(turned));
    OutputFiles files(path("out"), layout);
    const Plan plan = plan_convert(index, layout, {files.has_direct(), true}, {});
    Outcome outcome;
    run(plan, {&index, {}, &layout, files.files()}, {}, outcome);
    files.commit();
    std::vector<std::byte> bytes(turned.nbytes());
    read_at(open_file(path("out")), 4096, bytes);
    EXPECT_EQ(bytes, element_bytes(
                         Tensor(home.storage(), Dtype::float32, turned.shape(), turned.stride())));
    EXPECT_EQ(outcome.wrote_crc32[0], crc32_of(bytes));
  }
}

TEST_F(PlanSave, OfAPathSaysWhatWillBeWritten) {
  save(small_model(), path("m.pt"));
  const Plan plan = plan_convert(open(path("m.pt")), path("out.safetensors"));
  ASSERT_EQ(plan.outputs.size(), 1u);
  EXPECT_EQ(plan.outputs[0].nbytes, 484u);
  EXPECT_EQ(plan.outputs[0].name, path("out.safetensors").string());
  EXPECT_FALSE(plan.sums_written);  // safetensors has no checksums
  EXPECT_TRUE(plan_save(small_model(), path("out.pt")).sums_written);
  EXPECT_FALSE(fs::exists(path("out.safetensors")));
  const std::string text = str(plan);
  EXPECT_NE(text.find("write " + path("out.safetensors").string() + ": 484 bytes"),
            std::string::npos)
      << text;
}

// A layout of several files is a folder of them.
TEST_F(PlanSave, OfSeveralFilesMakesAFolder) {
  const Tensor tensor = counted({100}, 1);
  Layout layout;
  layout.contents.set("w", tensor);
  layout.files = {{"a", 200}, {"b", 203}};
  layout.pieces = {{0, 0, 200, {0, 0, 200}}, {0, 200, 200, {1, 3, 200}}};
  layout.literals = {{1, 0, "abc"}};
  const Format format{
      .name = "test", .recognizes = nullptr, .read = nullptr, .lay_out = nullptr, .seal = nullptr};
  const SaveResult result =
      write(format, layout, path("folder"), nullptr, {}, [&](const WriteFacts& facts) {
        return plan_save(layout.contents.storages(), layout, facts, {});
      });
  EXPECT_EQ(result.nbytes, 403u);
  const std::string bytes(reinterpret_cast<const char*>(tensor.data()), 400);
  EXPECT_EQ(read_text(open_file(path("folder") / "a"), 0, 200), bytes.substr(0, 200));
  EXPECT_EQ(read_text(open_file(path("folder") / "b"), 0, 203), "abc" + bytes.substr(200));
}

}  // namespace
}  // namespace transload
