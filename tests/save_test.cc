// Saves on the CPU: what is written, and what a crash leaves.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <iterator>
#include <random>

#include "small_model.h"

namespace transload {
namespace {

namespace fs = std::filesystem;

using Save = TestFolder;

TEST_F(Save, WritesAStorageOnceHoweverManyTensorsViewIt) {
  const Tensor base = counted({1000}, 0);
  StateDict state;
  for (int i = 0; i < 10; ++i)
    state.set("view" + std::to_string(i),
              Tensor(base.storage(), Dtype::float32, {100}, {1}, i * 100));
  EXPECT_LT(save(state, path("views.pt")).nbytes, 4000u + 3000u);
  EXPECT_EQ(open(path("views.pt")).storages.size(), 1u);
}

std::string contents_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// What a save passes to a function, and the offsets at which the calls begin.
struct Written {
  std::string bytes;
  std::vector<std::size_t> begins;
  WriteFunction function() {
    return [this](std::span<const std::byte> part) {
      begins.push_back(bytes.size());
      bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
    };
  }
};

TEST_F(Save, AFunctionGetsTheBytesOfTheFileInOrder) {
  StateDict state;
  state.set("large", counted({3'000'000}, 1));
  state.set("strided", Tensor(counted({12}, 0).storage(), Dtype::float32, {3, 4}, {1, 3}, 0));
  state.set("empty", counted({0}, 0));
  for (const char* format : {"torch_zip", "safetensors"}) {
    save(state, path("archive"), {.format = format});
    Written written;
    const SaveResult result = save(state, written.function(), {.format = format});
    EXPECT_EQ(written.bytes, contents_of(path("archive"))) << format;
    EXPECT_EQ(result.nbytes, written.bytes.size());
    EXPECT_LT(written.begins.size(), 10u);
    EXPECT_LE(written.bytes.size() - written.begins.back(), 4u << 20);
    fs::remove(path("archive"));
  }
}

TEST_F(Save, AFunctionThatThrowsEndsTheSave) {
  StateDict state;
  state.set("large", counted({3'000'000}, 1));
  int calls = 0;
  const auto full = [&](std::span<const std::byte>) {
    if (++calls == 2) throw std::runtime_error("full");
  };
  EXPECT_THROW(save(state, full), std::runtime_error);
  EXPECT_EQ(calls, 2);
}

TEST_F(Save, AFunctionGetsNothingOfAFormatOfSeveralFiles) {
  StateDict state;
  state.set("w", counted({10}, 1));
  Written written;
  EXPECT_NE(message([&] { save(state, written.function(), {.format = "shards"}); }).find("folder"),
            std::string::npos);
  EXPECT_EQ(written.bytes, "");
}

TEST_F(Save, ProgressOfAFunctionGoesUpToTheWholeFile) {
  StateDict state;
  state.set("large", counted({3'000'000}, 1));
  Written written;
  std::vector<std::uint64_t> done;
  SaveOptions options;
  options.io.progress = [&](const Progress& now) { done.push_back(now.done_nbytes); };
  save(state, written.function(), options);
  EXPECT_TRUE(std::ranges::is_sorted(done));
  EXPECT_EQ(done.back(), written.bytes.size());
}

TEST_F(Save, CompactLeavesOutWhatNoTensorUses) {
  const Tensor base = counted({100'000}, 0);
  StateDict state;
  state.set("a", Tensor(base.storage(), Dtype::float32, {4}, {1}, 500));
  state.set("b", Tensor(base.storage(), Dtype::float32, {2}, {1}, 502));
  EXPECT_GT(save(state, path("whole.pt")).nbytes, 400'000u);
  EXPECT_LT(save(state, path("compact.pt"), {.compact = true}).nbytes, 3000u);
  const StateDict back = load(path("compact.pt"));
  EXPECT_EQ(values(back.tensor("b")), (std::vector<float>{502, 503}));
  EXPECT_EQ(back["a"].storage_number(), back["b"].storage_number());
}

TEST_F(Save, LeftoversOfAKilledSaveAreRemoved) {
  std::ofstream(path(".m.pt.abcdef.saving")) << "half";
  const SaveResult result = save(small_model(), path("m.pt"));
  EXPECT_TRUE(result.leftovers.empty());
  EXPECT_FALSE(fs::exists(path(".m.pt.abcdef.saving")));
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
  int old_seen = 0, new_seen = 0;
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
    save(old_state, path("m.pt"));
    ASSERT_EQ(std::distance(fs::directory_iterator(path("")), {}), 1)
        << "left by the " << i << "th";
  }
  EXPECT_GT(old_seen, 0);
  EXPECT_GT(new_seen, 0);
}

TEST_F(Save, IntoAFolderThatIsNotThereSaysSo) {
  EXPECT_THROW(save(small_model(), path("none/m.pt")), IoError);
}

TEST_F(Save, TheSuffixDecidesInAnyCase) {
  save(small_model(), path("a.SafeTensors"));
  EXPECT_EQ(open(path("a.SafeTensors")).format, "safetensors");
  for (const char* name : {"a.pt", "a.bin", "a.ckpt", "a", "a.v2", "a.pth.tar", "a.tensors"}) {
    save(small_model(), path(name));
    EXPECT_EQ(open(path(name)).format, "torch_zip") << name;
  }
}

TEST_F(Save, ASuffixOfAFormatThatIsNotWrittenWritesNothing) {
  for (const char* suffix : {"gguf", "onnx", "h5", "hdf5", "npz", "npy", "tflite", "keras",
                             "msgpack", "tar", "tar.gz", "GZ", "zip", "pt2"}) {
    const fs::path target = path(std::string("model.") + suffix);
    const std::string text = message([&] { save(small_model(), target); });
    const std::string last = target.extension().string();
    EXPECT_NE(text.find(last + " is the suffix of "), std::string::npos) << text;
    EXPECT_NE(text.find("`format`"), std::string::npos) << text;
    EXPECT_FALSE(fs::exists(target)) << suffix;
    save(small_model(), target, {.format = "torch_zip"});
    EXPECT_EQ(open(target).format, "torch_zip") << suffix;
    EXPECT_THROW(convert(path("m.pt"), path(std::string("b.") + suffix)), Error);
    EXPECT_THROW(recover(target, path(std::string("b.") + suffix)), UnsupportedError);
    EXPECT_FALSE(fs::exists(path(std::string("b.") + suffix)));
  }
}

TEST_F(Save, AMisspeltSuffixAsksForTheRightOne) {
  for (const char* name :
       {"a.safetensor", "a.safetensos", "a.SAFETENSRO", "a.safe_tensors", "a.savetensors"}) {
    const std::string text = message([&] { save(small_model(), path(name)); });
    EXPECT_NE(text.find("did you mean .safetensors?"), std::string::npos) << name << ": " << text;
    EXPECT_FALSE(fs::exists(path(name)));
  }
}

TEST_F(Save, SaysWhatTheFormatLeavesOut) {
  StateDict state;
  Tensor weight = counted({4}, 1);
  weight.requires_grad = true;
  state.set("weight", weight);
  state.set("part", Tensor(weight.storage(), Dtype::float32, {2}, {1}, 2));
  EXPECT_EQ(save(state, path("a.safetensors")).left_out,
            (std::vector<std::string>{"which tensors are Parameters or require gradients",
                                      "which tensors are views of the same storage"}));
  EXPECT_TRUE(save(state, path("a.pt")).left_out.empty());
  EXPECT_TRUE(save(small_model(), path("a.safetensors")).left_out.empty());
}

TEST_F(Save, WritesTheValuesThatAreSelectedAndNoOthers) {
  StateDict state = small_model();
  state.set("epoch", std::int64_t{3});
  state.set("name", "x");
  save(state, path("a.safetensors"), {.values = PlainValues::drop});
  EXPECT_EQ(load(path("a.safetensors")).size(), 4u);
  save(state, path("b.safetensors"), {.select = {.keep = {"net1.*"}}});
  EXPECT_EQ(load(path("b.safetensors")).size(), 2u);
  EXPECT_THROW(save(state, path("b.safetensors"), {.select = {.keep = {"net1.*", "epoch"}}}),
               UnsupportedError);
  save(state, path("a.pt"), {.select = {.keep = {"net1.*"}}});
  EXPECT_EQ(load(path("a.pt")).size(), 4u);
  save(state, path("a.pt"),
       {.select = {.keep = {"net1.*", "epoch"}}, .values = PlainValues::select});
  EXPECT_EQ(str(load(path("a.pt"))["epoch"]), "3");
  EXPECT_EQ(load(path("a.pt")).size(), 3u);
  convert(path("a.pt"), path("b.pt"), {.select = {.drop = {"epoch"}}});
  EXPECT_EQ(load(path("b.pt")).size(), 2u);
  convert(path("a.pt"), path("b.pt"),
          {.select = {.keep = {"net1.bias"}}, .values = PlainValues::keep});
  EXPECT_EQ(load(path("b.pt")).size(), 2u);
}

}  // namespace
}  // namespace transload
