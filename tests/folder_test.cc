// Folders: which model a folder is opened as, and that files which do not belong together are never put together.
#include <gtest/gtest.h>

#include <fstream>

#include "golden.h"
#include "small_model.h"

namespace transload {
namespace {

namespace fs = std::filesystem;

class FolderOf : public golden::TemporaryFolder {
 protected:
  // Writes a file with one tensor, or a small file of another kind.
  void add(const std::string& name, const std::string& tensor = "w", float value = 1) const {
    fs::create_directories(path(name).parent_path());
    if (name.ends_with(".json")) return golden::write_file(path(name), "{}");
    StateDict state;
    state.set(tensor, counted({2}, value));
    save(state, path(name),
         {.format = name.ends_with(".safetensors") ? "safetensors" : "torch_zip"});
  }
  void add_index(const std::string& name, const std::string& weight_map) const {
    golden::write_file(path(name), "{\"weight_map\": {" + weight_map + "}}");
  }
  std::string said(const LoadOptions& options = {}) const {
    return message([&] { load(path(""), options); });
  }
  std::vector<std::string> names(const LoadOptions& options = {}) const {
    std::vector<std::string> names;
    for (const NamedTensor& tensor : load(path(""), options).tensors())
      names.push_back(tensor.name);
    return names;
  }
  // The first element of "w", which says which file was opened.
  float opened() const { return values(load(path("")).tensor("w"))[0]; }
};
using Names = std::vector<std::string>;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(FolderOf, OneModelIsOpenedAsThatFileIs) {
  for (const char* name : {"pytorch_model.bin", "adapter_model.safetensors", "best.pt", "a.ckpt"}) {
    add(name, "w", 7);
    for (const char* other : {"config.json", "optimizer.pt", "scheduler.pt", "training_args.bin",
                              "rng_state_0.pth", "trainer_state.json", "._best.pt"})
      add(other, "other");
    EXPECT_EQ(opened(), 7) << name;
    EXPECT_EQ(open(path("")).format, open(path(name)).format);
    fs::remove(path(name));
  }
}

TEST_F(FolderOf, TheNameThatFromPretrainedLooksForIsMeant) {
  add("model.safetensors", "w", 1);
  add("model.fp16.safetensors", "w", 2);
  add("consolidated.safetensors", "v", 3);
  add("pytorch_model.bin", "w", 4);
  EXPECT_EQ(opened(), 1);
  EXPECT_EQ(names(), Names{"w"});
}

TEST_F(FolderOf, SeveralModelsAreNamedAndNoneIsOpened) {
  add("x.safetensors", "w", 1);
  add("x.fp16.safetensors", "w", 2);
  const std::string text = said();
  EXPECT_TRUE(has(text, "\"x.fp16.safetensors\", \"x.safetensors\"; name the one that is meant"))
      << text;
}

TEST_F(FolderOf, AModelAndAnAdapterAreNotPutTogether) {
  add("model.safetensors", "w");
  add("adapter_model.safetensors", "lora");
  const std::string text = said();
  EXPECT_TRUE(has(text, "\"adapter_model.safetensors\", \"model.safetensors\"")) << text;
}

TEST_F(FolderOf, FilesOfDifferentTensorsAreNotPutTogether) {
  add("1.safetensors", "a");
  add("2.safetensors", "b");
  EXPECT_TRUE(has(said(), "several models: \"1.safetensors\", \"2.safetensors\"")) << said();
}

TEST_F(FolderOf, NumberedFilesAreOneModelWithoutAnIndexToo) {
  for (const char* suffix : {".safetensors", ".bin"}) {
    add(std::string("model-00001-of-00002") + suffix, "a");
    add(std::string("model-00002-of-00002") + suffix, "b");
    EXPECT_EQ(names(), (Names{"a", "b"}));
    for (const auto& entry : fs::directory_iterator(path(""))) fs::remove(entry.path());
  }
}

TEST_F(FolderOf, MissingNumberedFilesAreCounted) {
  add("model-00001-of-00003.safetensors", "a");
  EXPECT_TRUE(has(said(),
                  "2 of 3 shards are missing: \"model-00002-of-00003.safetensors\", "
                  "\"model-00003-of-00003.safetensors\""))
      << said();
  fs::rename(path("model-00001-of-00003.safetensors"), path("model-00001-of-999999.safetensors"));
  EXPECT_TRUE(has(said(), "999998 of 999999 shards are missing: ")) << said();
  EXPECT_LT(said().size(), 600u);
}

TEST_F(FolderOf, NumbersMayCountFromZero) {
  add("model-00000-of-00002.safetensors", "a");
  EXPECT_TRUE(has(said(), "1 of 2 shards are missing: \"model-00001-of-00002.safetensors\""))
      << said();
}

TEST_F(FolderOf, TwoSetsAreTwoModels) {
  add("model-00001-of-00001.safetensors", "a");
  add("model-00001-of-00002.safetensors", "a");
  add("model-00002-of-00002.safetensors", "b");
  EXPECT_TRUE(has(said(), "several models")) << said();
}

TEST_F(FolderOf, AnIndexSaysWhichFilesAreTheModel) {
  add("model-00001-of-00002.safetensors", "a");
  add("model-00002-of-00002.safetensors", "b");
  add("consolidated.safetensors", "c");
  add("model-00001-of-00009.safetensors", "old");
  add_index("model.safetensors.index.json",
            R"("a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors")");
  EXPECT_EQ(names(), (Names{"a", "b"}));
  add("model.safetensors", "a");
  EXPECT_TRUE(has(said(), "\"model.safetensors.index.json\", \"model.safetensors\"")) << said();
}

TEST_F(FolderOf, AnIndexOfAVariantIsNotTheModelBesideIt) {
  add("model.safetensors", "w", 5);
  add("model.fp16-00001-of-00001.safetensors", "w", 6);
  add_index("model.safetensors.index.fp16.json", R"("w": "model.fp16-00001-of-00001.safetensors")");
  EXPECT_EQ(opened(), 5);
}

TEST_F(FolderOf, OnlyTheShardsWithWhatIsSelectedMustBeThere) {
  add("model-00001-of-00002.safetensors", "a.w");
  add_index(
      "model.safetensors.index.json",
      R"("a.w": "model-00001-of-00002.safetensors", "b.w": "model-00002-of-00002.safetensors")");
  EXPECT_EQ(names({.select = {.keep = {"a.*"}}}), Names{"a.w"});
  EXPECT_EQ(names({.select = {.at = "a.w"}}).size(), 1u);
  StateDict live;
  live.set("a.w", zeros({2}, Dtype::float32));
  EXPECT_NO_THROW(load_into(live, path(""), {.select = {.keep = {"a.*"}}}));
  EXPECT_NO_THROW(convert(path(""), path("a.pt"), {.select = {.keep = {"a.*"}}}));
  fs::remove(path("a.pt"));
  for (const Selection& select :
       {Selection{}, Selection{.keep = {"b.*"}}, Selection{.keep = {"a.w", "b.w"}},
        Selection{.at = "b.w"}, Selection{.drop = {"a.*"}}}) {
    EXPECT_TRUE(has(said({.select = select}),
                    "1 of 2 shards are missing: \"model-00002-of-00002.safetensors\""))
        << said({.select = select});
  }
  EXPECT_THROW(open(path("")), FormatError);
}

TEST_F(FolderOf, AnIndexWithoutShardsSaysThatAllAreMissing) {
  add_index("model.safetensors.index.json", R"("a": "1.safetensors", "b": "2.safetensors")");
  EXPECT_TRUE(has(said(), "all 2 shards are missing: \"1.safetensors\", \"2.safetensors\"; copy"))
      << said();
  EXPECT_FALSE(has(said(), "keep")) << said();
}

TEST_F(FolderOf, WhatIsNotAModelIsNamed) {
  EXPECT_TRUE(has(said(), "holds no model: neither safetensors, nor a file of torch.save"))
      << said();
  fs::create_directories(path("unet"));
  EXPECT_TRUE(has(said(), "If one of its folders is meant, name it: \"unet\"")) << said();
  add("optimizer.pt");
  EXPECT_TRUE(has(said(), "\"optimizer.pt\": name the one that is meant")) << said();
}

TEST_F(FolderOf, ADamagedIndexIsAnErrorOnlyIfItIsMeant) {
  golden::write_file(path("other.safetensors.index.fp16.json"), "{nonsense");
  add("model.safetensors", "w", 3);
  EXPECT_EQ(opened(), 3);
  golden::write_file(path("model.safetensors.index.json"), "{nonsense");
  fs::remove(path("model.safetensors"));
  EXPECT_TRUE(has(said(), "the index of shards is not valid JSON")) << said();
}

}  // namespace
}  // namespace transload
