// Values, torch zip files, plans, loads and saves on the CPU.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <random>

#include "transload/transload.h"

namespace transload {
namespace {

namespace fs = std::filesystem;

const fs::path kData = TRANSLOAD_DATA;

class Folder : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "transload-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path path(const std::string& name) const { return folder_ / name; }
  fs::path folder_;
};
using Save = Folder;
using Load = Folder;
using LoadInto = Folder;
using TorchZip = Folder;

Tensor counted(Dims shape, float from = 0) {
  const Tensor t = empty(shape, Dtype::float32);
  auto* values = reinterpret_cast<float*>(t.data());
  for (std::int64_t i = 0; i < t.numel(); ++i) values[i] = from + static_cast<float>(i);
  return t;
}

std::vector<float> values(const Tensor& t) {
  const auto bytes = element_bytes(t);
  std::vector<float> out(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

std::string message(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

StateDict model(float from = 0) {
  StateDict state;
  state.set("net1.weight", counted({10, 10}, from));
  state.set("net1.bias", counted({10}, from + 1));
  state.set("net2.weight", counted({1, 10}, from + 2));
  state.set("net2.bias", counted({1}, from + 3));
  return state;
}

TEST(Devices, AreParsedAsTorchParsesThem) {
  EXPECT_EQ(Device::parse("cuda"), cuda(0));
  EXPECT_EQ(Device::parse("cuda:12"), cuda(12));
  for (const char* text : {"cpu:0", "cuda:", "cuda:01", "cuda:-1", "cuda0", "CUDA:0", "", "mps"})
    EXPECT_FALSE(Device::parse(text)) << text;
}

TEST(Tensors, ThatReachBeyondTheirStorageAreRefused) {
  const Storage storage = allocate(kCpu, 40);
  EXPECT_NO_THROW(Tensor(storage, Dtype::float32, {2, 5}, {5, 1}));
  EXPECT_THROW(Tensor(storage, Dtype::float32, {2, 5}, {5, 1}, 1), Error);
  EXPECT_THROW(
      Tensor(storage, Dtype::float32, {std::int64_t{1} << 62, 2}, {std::int64_t{1} << 62, 1}),
      Error);
  EXPECT_THROW(Tensor(storage, Dtype::float32, {-1}, {1}), Error);
  EXPECT_NO_THROW(
      Tensor(storage, Dtype::float32, {0, 5}, {5, 1}, 1 << 30));  // no element, no matter where
}

TEST_F(TorchZip, GoldenFilesOfPyTorchAreReadValueForValue) {
  const StateDict state =
      load(kData / "torch-2.13/nested_containers.zip.pt", {.map_location = "cpu"});
  const std::string text = str(state.root(), 100'000);
  for (const char* part :
       {"9223372036854775808", "-1267650600228229401496703205376", "5e-324", "b'\\x00\\xff raw'",
        "(1, 'a'): 'tuple key'", "torch.Size([1, 3])", "device('cuda:1')", "torch.float8_e4m3fn",
        "(1.0+2.0j)", "bytearray(b'ab')"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
  }
}

TEST_F(TorchZip, WhatIsWrittenIsReadAgain) {
  StateDict state = model();
  StateDict checkpoint = StateDict::dict();
  const Tensor base = counted({4, 6});
  checkpoint.set("model", state);
  checkpoint.set("epoch", std::int64_t{3});
  checkpoint.set("rate", 0.25);
  checkpoint.set("base", base);
  checkpoint.set("transposed", Tensor(base.storage(), Dtype::float32, {6, 4}, {1, 6}));
  checkpoint.set("betas", std::cref(static_cast<const StateDict&>(StateDict::tuple({0.9, 0.999}))));
  save(checkpoint, path("c.pt"));
  const StateDict back = load(path("c.pt"));
  EXPECT_EQ(str(back.root()), str(checkpoint.root()));
  EXPECT_EQ(back["base"].storage_number(), back["transposed"].storage_number());
  EXPECT_EQ(values(back.tensor("transposed")), values(checkpoint.tensor("transposed")));
  EXPECT_EQ(values(back.tensor("model/net1.weight")), values(state.tensor("net1.weight")));
}

TEST_F(TorchZip, ATruncatedFileIsAnErrorAtEveryLength) {
  save(model(), path("m.pt"));
  const auto size = fs::file_size(path("m.pt"));
  for (std::uintmax_t length = 0; length < size; length += 7) {
    fs::copy_file(path("m.pt"), path("t.pt"), fs::copy_options::overwrite_existing);
    fs::resize_file(path("t.pt"), length);
    EXPECT_THROW(load(path("t.pt")), Error) << length;
  }
}

TEST_F(Load, TagsOfDevicesThatAreNotHereNameTheMapping) {
  const std::string text = message([] { load(kData / "torch-2.13/location_mps.zip.pt"); });
  EXPECT_NE(text.find("saved on \"mps\""), std::string::npos) << text;
  EXPECT_NE(text.find("mps=cpu"), std::string::npos) << text;
  EXPECT_NO_THROW(load(kData / "torch-2.13/location_mps.zip.pt", {.map_location = "cpu"}));
}

TEST_F(Load, MetaReadsNoBytes) {
  save(model(), path("m.pt"));
  const Index index = open(path("m.pt"));
  const Plan plan = plan_load(index, {.map_location = "meta"}, memory_for(index, "meta"));
  EXPECT_EQ(plan.transfer_nbytes, 0u);
  EXPECT_EQ(load(path("m.pt"), {.map_location = "meta"}).tensor("net1.bias").device(), kMeta);
}

TEST_F(Load, ThePlanCountsEveryByteOnce) {
  save(model(), path("m.pt"));
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
  const Tensor tied = counted({8});
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
  save(model(), path("m.pt"));
  const Index index = open(path("m.pt"));
  std::vector<MemoryUse> memory = memory_for(index, {});
  for (MemoryUse& use : memory)
    use.free = use.device == kCpu ? 100 : use.free, use.reserved = use.allocated;
  const std::string text = message([&] { plan_load(index, {}, memory); });
  EXPECT_NE(text.find("cpu: the plan needs"), std::string::npos) << text;
}

TEST_F(Load, SelectsAndRenames) {
  save(model(), path("m.pt"));
  LoadOptions options;
  options.select.keep = {"net1.*"};
  options.select.rename = {{"net1.*", "first.*"}};
  const StateDict state = load(path("m.pt"), options);
  EXPECT_EQ(state.size(), 2u);
  EXPECT_EQ(values(state.tensor("first.bias")), values(model().tensor("net1.bias")));
}

TEST_F(Load, CastsOnTheWay) {
  save(model(), path("m.pt"));
  const StateDict state = load(path("m.pt"), {.dtype = Dtype::float64});
  const Tensor wide = state.tensor("net1.weight");
  ASSERT_EQ(wide.dtype(), Dtype::float64);
  EXPECT_EQ(reinterpret_cast<const double*>(wide.data())[99], 99.0);
}

TEST_F(Load, WhatHasNoDtypeOfItsOwnIsNotCast) {
  const Tensor bytes = empty({4}, Dtype::float8_e4m3fn), alone = counted({2});
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
  save(model(), path("m.pt"));
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
  inner.set("c", counted({1}));
  checkpoint.set("a", std::cref(inner));
  checkpoint.set("a/b", std::cref(inner));
  save(checkpoint, path("c.pt"));
  EXPECT_EQ(load(path("c.pt"), {.select = {.at = "a/b"}}).size(), 1u);
  EXPECT_EQ(load(path("c.pt"), {.select = {.at = "a"}}).size(), 1u);
  EXPECT_THROW(load(path("c.pt"), {.select = {.at = "a/d"}}), MismatchError);
}

TEST_F(LoadInto, TransactionallyFillsAPartOfACheckpoint) {
  const StateDict part = model();
  StateDict checkpoint, live = model(1000);
  checkpoint.set("model", std::cref(part));
  checkpoint.set("other", counted({1000}));
  save(checkpoint, path("c.pt"));
  const Index index = open(path("c.pt"));
  load_into(live, index, {.select = {.at = "model"}, .transactional = true});
  EXPECT_EQ(values(live.tensor("net1.bias")), values(model().tensor("net1.bias")));
  fs::resize_file(path("c.pt"), 200);
  live = model(1000);
  EXPECT_THROW(load_into(live, index, {.select = {.at = "model"}, .transactional = true}), Error);
  EXPECT_EQ(values(live.tensor("net1.bias")), values(model(1000).tensor("net1.bias")));
}

TEST_F(LoadInto, FillsLiveTensorsInPlaceCastAndByTheirStrides) {
  save(model(), path("m.pt"));
  StateDict live = model(1000);
  const Tensor transposed_home = empty({10, 10}, Dtype::float64);
  live.set("net1.weight", Tensor(transposed_home.storage(), Dtype::float64, {10, 10}, {1, 10}));
  const std::byte* const bias = live.tensor("net1.bias").data();
  load_into(live, path("m.pt"));
  EXPECT_EQ(live.tensor("net1.bias").data(), bias);
  EXPECT_EQ(values(live.tensor("net1.bias")), values(model().tensor("net1.bias")));
  const auto* at = reinterpret_cast<const double*>(transposed_home.data());
  for (int row = 0; row < 10; ++row) {
    for (int column = 0; column < 10; ++column) EXPECT_EQ(at[column * 10 + row], row * 10 + column);
  }
}

TEST_F(LoadInto, ReportsAllThatDoesNotFitAndChangesNothing) {
  save(model(), path("m.pt"));
  StateDict live;
  live.set("net1.weight", counted({10, 11}, 5));
  live.set("net1.bias", counted({10}, 5));
  live.set("extra", counted({1}));
  const std::string text = message([&] { load_into(live, path("m.pt")); });
  for (const char* part :
       {"missing keys: \"extra\"", "unexpected keys: \"net2.weight\", \"net2.bias\"",
        "size mismatch for \"net1.weight\"", "nothing was changed"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  EXPECT_EQ(values(live.tensor("net1.bias")), values(counted({10}, 5)));
}

TEST_F(LoadInto, AFileCutShortWhileItIsReadListsWhatIsTorn) {
  StateDict big;
  for (int i = 0; i < 4; ++i)
    big.set("t" + std::to_string(i), counted({3 << 20}, static_cast<float>(i)));
  save(big, path("big.pt"));
  StateDict live;
  for (int i = 0; i < 4; ++i) live.set("t" + std::to_string(i), zeros({3 << 20}, Dtype::float32));
  FillOptions options;
  options.io.threads = 1;
  const Index index = open(path("big.pt"));
  const std::uint64_t middle = index.pieces[2].extent.offset + 4096;
  fs::resize_file(path("big.pt"), middle);
  const std::string text = message([&] { load_into(live, index, options); });
  EXPECT_NE(text.find("new: \"t0\", \"t1\""), std::string::npos) << text;
  EXPECT_NE(text.find("torn: \"t2\""), std::string::npos) << text;
  EXPECT_NE(text.find("untouched: \"t3\""), std::string::npos) << text;
  EXPECT_NE(text.find("the file ends at"), std::string::npos) << text;
}

TEST_F(Load, AFileReplacedAfterOpenIsStillTheOldOne) {
  for (const bool mapped : {false, true}) {
    for (const bool verify : {false, true}) {
      save(model(1), path("m.pt"));
      const Index index = open(path("m.pt"));
      save(model(2), path("m.pt"));
      const StateDict loaded = load(index, {.mapped = mapped, .verify = verify});
      EXPECT_EQ(values(loaded.tensor("net2.bias")), std::vector<float>{4});
      EXPECT_EQ(values(load(path("m.pt")).tensor("net2.bias")), std::vector<float>{5});
    }
  }
}

// By a program that opens it for writing, instead of writing beside it.
TEST_F(Load, AFileWrittenToAfterOpenIsNoticed) {
  save(model(1), path("m.pt"));
  save(model(2), path("other.pt"));
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
  EXPECT_THROW(load_into(model(7), again), IoError);
}

TEST_F(Load, AnExceptionOfTheProgressFunctionStopsTheLoad) {
  save(model(), path("m.pt"));
  LoadOptions options;
  options.io.progress = [](const Progress&) { throw std::runtime_error("stop"); };
  const auto before = memory_use(kCpu).allocated;
  EXPECT_THROW(load(path("m.pt"), options), std::runtime_error);
  EXPECT_EQ(memory_use(kCpu).allocated, before);
}

TEST_F(Save, WritesAStorageOnceHoweverManyTensorsViewIt) {
  const Tensor base = counted({1000});
  StateDict state;
  for (int i = 0; i < 10; ++i)
    state.set("view" + std::to_string(i),
              Tensor(base.storage(), Dtype::float32, {100}, {1}, i * 100));
  EXPECT_LT(save(state, path("views.pt")).nbytes, 4000u + 3000u);
  EXPECT_EQ(open(path("views.pt")).storages.size(), 1u);
}

TEST_F(Save, CompactLeavesOutWhatNoTensorUses) {
  const Tensor base = counted({100'000});
  StateDict state;
  state.set("a", Tensor(base.storage(), Dtype::float32, {4}, {1}, 500));
  state.set("b", Tensor(base.storage(), Dtype::float32, {2}, {1}, 502));
  EXPECT_GT(save(state, path("whole.pt")).nbytes, 400'000u);
  EXPECT_LT(save(state, path("compact.pt"), {.compact = true}).nbytes, 3000u);
  const StateDict back = load(path("compact.pt"));
  EXPECT_EQ(values(back.tensor("b")), (std::vector<float>{502, 503}));
  EXPECT_EQ(back["a"].storage_number(), back["b"].storage_number());
}

TEST_F(Save, LeftoversOfAKilledSaveAreNamed) {
  std::ofstream(path(".m.pt.abcdef.saving")) << "half";
  const SaveResult result = save(model(), path("m.pt"));
  ASSERT_EQ(result.leftovers.size(), 1u);
  EXPECT_EQ(result.leftovers[0].filename(), ".m.pt.abcdef.saving");
  EXPECT_TRUE(fs::exists(path(".m.pt.abcdef.saving")));  // named, not removed
}

TEST_F(Save, KilledAtAnyMomentLeavesTheOldFileOrTheNewOne) {
  StateDict old_state, new_state;
  for (int i = 0; i < 8; ++i) old_state.set("t" + std::to_string(i), counted({100'000}, 1));
  for (int i = 0; i < 8; ++i) new_state.set("t" + std::to_string(i), counted({100'000}, 2));
  const auto holds = [&](const StateDict& found, const StateDict& expected) {
    for (const NamedTensor& t : expected.tensors()) {
      if (element_bytes(found.tensor(t.name)) != element_bytes(t.value.tensor())) return false;
    }
    return found.size() == expected.size();
  };
  const auto saving = [&](bool again) {
    const pid_t child = fork();
    if (child == 0) {
      do save(new_state, path("m.pt"), {.io = {.threads = 1}});
      while (again);
      _exit(0);
    }
    return child;
  };
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  waitpid(saving(false), nullptr, 0);
  const std::chrono::microseconds one_save =
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);

  save(old_state, path("m.pt"));
  std::mt19937 random(7);
  int old_seen = 0, new_seen = 0, left = 0;
  for (int i = 0; i < 200; ++i) {
    const pid_t child = saving(true);
    ASSERT_GE(child, 0);
    usleep(static_cast<useconds_t>(random() % static_cast<unsigned>(2 * one_save.count())));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const StateDict found = load(path("m.pt"));
    const bool is_old = holds(found, old_state), is_new = holds(found, new_state);
    ASSERT_TRUE(is_old || is_new) << "killed for the " << i << "th time";
    old_seen += is_old, new_seen += is_new;
    const SaveResult result = save(old_state, path("m.pt"));
    left += !result.leftovers.empty();
    for (const fs::path& leftover : result.leftovers) fs::remove(leftover);
  }
  EXPECT_GT(old_seen, 0);
  EXPECT_GT(new_seen, 0);
  EXPECT_GT(left, 0);
}

TEST_F(Save, IntoAFolderThatIsNotThereSaysSo) {
  EXPECT_THROW(save(model(), path("none/m.pt")), IoError);
}

}  // namespace
}  // namespace transload
