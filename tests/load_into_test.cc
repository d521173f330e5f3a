// Filling live tensors on the CPU, from files and from other tensors.
#include <gtest/gtest.h>

#include "pickles.h"
#include "small_model.h"

namespace transload {
namespace {

namespace fs = std::filesystem;

using LoadInto = TestFolder;

TEST_F(LoadInto, TransactionallyFillsAPartOfACheckpoint) {
  const StateDict part = small_model();
  StateDict checkpoint, live = small_model(1000);
  checkpoint.set("model", std::cref(part));
  checkpoint.set("other", counted({1000}, 0));
  save(checkpoint, path("c.pt"));
  const Index index = open(path("c.pt"));
  load_into(live, index, {.select = {.at = "model"}, .transactional = true});
  EXPECT_EQ(values(live.tensor("net1.bias")), values(small_model().tensor("net1.bias")));
  fs::resize_file(path("c.pt"), 200);
  live = small_model(1000);
  EXPECT_THROW(load_into(live, index, {.select = {.at = "model"}, .transactional = true}), Error);
  EXPECT_EQ(values(live.tensor("net1.bias")), values(small_model(1000).tensor("net1.bias")));
}

TEST_F(LoadInto, FillsLiveTensorsInPlaceCastAndByTheirStrides) {
  save(small_model(), path("m.pt"));
  StateDict live = small_model(1000);
  const Tensor transposed_home = empty({10, 10}, Dtype::float64);
  live.set("net1.weight", Tensor(transposed_home.storage(), Dtype::float64, {10, 10}, {1, 10}));
  const std::byte* const bias = live.tensor("net1.bias").data();
  load_into(live, path("m.pt"));
  EXPECT_EQ(live.tensor("net1.bias").data(), bias);
  EXPECT_EQ(values(live.tensor("net1.bias")), values(small_model().tensor("net1.bias")));
  const auto* at = reinterpret_cast<const double*>(transposed_home.data());
  for (int row = 0; row < 10; ++row) {
    for (int column = 0; column < 10; ++column) EXPECT_EQ(at[column * 10 + row], row * 10 + column);
  }
}

TEST_F(LoadInto, ReportsAllThatDoesNotFitAndChangesNothing) {
  save(small_model(), path("m.pt"));
  StateDict live;
  live.set("net1.weight", counted({10, 11}, 5));
  live.set("net1.bias", counted({10}, 5));
  live.set("extra", counted({1}, 0));
  const std::string text = message([&] { load_into(live, path("m.pt")); });
  for (const char* part :
       {"missing keys: \"extra\"", "unexpected keys: \"net2.weight\", \"net2.bias\"",
        "size mismatch for \"net1.weight\"", "nothing was changed"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  EXPECT_EQ(values(live.tensor("net1.bias")), values(counted({10}, 5)));
}

TEST_F(LoadInto, NamesTheRenameThatStripsAPrefix) {
  StateDict wrapped;
  const StateDict plain = small_model();
  for (const NamedTensor& t : plain.tensors()) wrapped.set("module." + t.name, t.value.tensor());
  save(wrapped, path("ddp.pt"));
  StateDict live = small_model(7);
  const std::string text = message([&] { load_into(live, path("ddp.pt")); });
  EXPECT_NE(text.find("select.rename = {{\"module.*\", \"*\"}} strips it"), std::string::npos)
      << text;
  FillOptions options;
  options.select.rename = {{"module.*", "*"}};
  load_into(live, path("ddp.pt"), options);
  EXPECT_EQ(values(live.tensor("net2.weight")), values(small_model().tensor("net2.weight")));
}

TEST_F(LoadInto, NamesKeysThatAreNearlyThere) {
  StateDict saved;
  saved.set("encoder.wieght", counted({2}, 0));
  saved.set("encoder.Bias", counted({2}, 0));
  save(saved, path("m.pt"));
  StateDict live;
  live.set("encoder.weight", counted({2}, 0));
  live.set("encoder.bias", counted({2}, 0));
  const std::string text = message([&] { load_into(live, path("m.pt")); });
  EXPECT_NE(text.find("\"encoder.weight\" is nearly the file's \"encoder.wieght\""),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\"encoder.bias\" is nearly the file's \"encoder.Bias\""), std::string::npos)
      << text;
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

TEST_F(LoadInto, TransactionallyLoadsSelectedKeysOnly) {
  StateDict checkpoint = small_model();
  checkpoint.set("huge", counted({1 << 20}, 0));
  save(checkpoint, path("c.pt"));
  const StateDict live = small_model(1000);
  std::uint64_t total = 0;
  FillOptions options{.select = {.keep = {"net?.*"}}, .transactional = true};
  options.io.progress = [&](const Progress& progress) {
    total = std::max(total, progress.total_nbytes);
  };
  load_into(live, path("c.pt"), options);
  EXPECT_EQ(total, 484u);
  EXPECT_EQ(values(live.tensor("net1.bias")), values(small_model().tensor("net1.bias")));
}

TEST_F(LoadInto, FromMemoryShowsProgressAndSelects) {
  const StateDict live = small_model(1000);
  FillOptions options{.select = {.keep = {"net1.*"}}, .strict = false};
  std::uint64_t done = 0, total = 0;
  options.io.progress = [&](const Progress& progress) {
    done = progress.done_nbytes;
    total = progress.total_nbytes;
  };
  load_state_dict(live, small_model(), options);
  EXPECT_EQ(done, 440u);
  EXPECT_EQ(total, 440u);
  EXPECT_EQ(values(live.tensor("net1.bias")), values(small_model().tensor("net1.bias")));
  EXPECT_EQ(values(live.tensor("net2.bias")), values(small_model(1000).tensor("net2.bias")));
}

TEST_F(LoadInto, FromMemoryRefusesOptionsThatAreForFiles) {
  const StateDict live = small_model(1000);
  EXPECT_THROW(load_state_dict(live, small_model(), {.verify = true}), UnsupportedError);
  EXPECT_THROW(load_state_dict(live, small_model(), {.transactional = true}), UnsupportedError);
  EXPECT_EQ(values(live.tensor("net1.bias")), values(small_model(1000).tensor("net1.bias")));
}

TEST_F(LoadInto, FromMemoryTiedLiveTensorsHaveTheLastOnesValues) {
  const Tensor tied = counted({3 << 20}, 0);
  StateDict live, source;
  live.set("a", tied);
  live.set("b", tied);
  source.set("a", counted({3 << 20}, 1));
  source.set("b", counted({3 << 20}, 2));
  load_state_dict(live, source);
  EXPECT_EQ(values(tied), values(source.tensor("b")));
}

TEST_F(LoadInto, AKeyWhoseBytesAnotherKeyFillsIsNotMissing) {
  StateDict saved;
  saved.set("embed", counted({4, 2}, 5));
  save(saved, path("m.pt"));
  const Tensor weight = zeros({4, 2}, Dtype::float32);
  StateDict live;
  live.set("embed", weight);
  live.set("head", Tensor(weight.storage(), Dtype::float32, {2, 4}, {1, 2}));  // transposed
  live.set("row", Tensor(weight.storage(), Dtype::float32, {2}, {1}, 6));
  for (const bool strict : {true, false}) {
    const FillResult result = load_into(live, path("m.pt"), {.strict = strict});
    EXPECT_TRUE(result.missing.empty() && result.unexpected.empty());
    EXPECT_EQ(values(weight), values(counted({4, 2}, 5)));
  }
}

TEST_F(LoadInto, AKeyOfAStorageThatIsFilledInPartIsMissing) {
  const Tensor flat = zeros({8}, Dtype::float32);
  const auto part = [&](std::int64_t count, std::int64_t first, std::int64_t step = 1) {
    return Tensor(flat.storage(), Dtype::float32, {count}, {step}, first);
  };
  StateDict live, source;
  live.set("a", part(2, 0));
  live.set("b", part(2, 2));
  live.set("even", part(2, 4, 2));
  live.set("both", part(4, 0));     // filled by a and b
  live.set("same", part(2, 4, 2));  // filled by even
  live.set("more", part(5, 0));
  live.set("rest", part(3, 4));  // even has a gap
  live.set("apart", zeros({2}, Dtype::float32));
  for (const char* key : {"a", "b", "even"}) source.set(key, counted({2}, 1));
  const FillResult result = load_state_dict(live, source, {.strict = false});
  EXPECT_EQ(result.missing, (std::vector<std::string>{"more", "rest", "apart"}));
  EXPECT_THROW(load_state_dict(live, source), MismatchError);
}

TEST_F(LoadInto, RefusesALiveTensorOnMetaAndChangesNothing) {
  save(small_model(), path("m.pt"));
  StateDict live = small_model(1000);
  live.set("net1.weight", empty({10, 10}, Dtype::float32, kMeta));
  for (const bool strict : {true, false}) {
    const std::string text = message([&] { load_into(live, path("m.pt"), {.strict = strict}); });
    EXPECT_NE(text.find("\"net1.weight\": lives on meta"), std::string::npos) << text;
    EXPECT_EQ(values(live.tensor("net1.bias")), values(small_model(1000).tensor("net1.bias")));
  }
}

TEST_F(LoadInto, RefusesALiveTensorWhoseElementsAreOne) {
  StateDict saved, live;
  saved.set("w", counted({3, 2}, 0));
  save(saved, path("m.pt"));
  const Tensor row = counted({2}, 7);
  live.set("w", Tensor(row.storage(), Dtype::float32, {3, 2}, {0, 1}));
  EXPECT_NE(message([&] { load_into(live, path("m.pt")); }).find("\"w\": several elements"),
            std::string::npos);
  EXPECT_EQ(values(row), values(counted({2}, 7)));
}

// {"model": {"w": tensor}, "made": a call of `callable`}, saved at a path.
void save_with_call(const std::string& callable, const std::filesystem::path& target) {
  using namespace pickles;
  const auto made =
      read(pickle(called(callable, text("x"))), OpenOptions{.keep_calls = true}).state;
  StateDict model, checkpoint;
  model.set("w", counted({2}, 3));
  checkpoint.set("model", std::cref(model));
  checkpoint.set("made", std::cref(made));
  save(checkpoint, target, {.allow_objects = true});
}

TEST_F(LoadInto, WhatIsNotSelectedIsNotRefused) {
  save_with_call(pickles::global("os", "system"), path("c.pt"));
  StateDict live;
  live.set("w", zeros({2}, Dtype::float32));
  EXPECT_THROW(open(path("c.pt")), UnsafePickleError);
  load_into(live, path("c.pt"), {.select = {.at = "model"}});
  EXPECT_EQ(values(live.tensor("w")), values(counted({2}, 3)));
  const decltype(Selection::rename) strip{{"model/*", "*"}};
  load_into(live, path("c.pt"), {.select = {.keep = {"model/*"}, .rename = strip}});
  load_into(live, path("c.pt"), {.select = {.drop = {"made"}, .rename = strip}});
  EXPECT_THROW(load_into(live, path("c.pt"), {.select = {.rename = strip}}), UnsafePickleError);
  const std::string text = message(
      [&] { load_into(live, path("c.pt"), {.select = {.keep = {"made"}}, .strict = false}); });
  EXPECT_NE(text.find("\"made\": calls os.system"), std::string::npos) << text;
  load_into(live, path("c.pt"), {.select = {.rename = strip}, .open = {.keep_calls = true}});
}

TEST_F(LoadInto, ObjectsAreRefusedWhereTheyAreSelected) {
  save_with_call(pickles::global("their", "Settings"), path("c.pt"));
  StateDict live;
  live.set("w", zeros({2}, Dtype::float32));
  const OpenOptions refuse{.refuse_objects = true};
  EXPECT_THROW(open(path("c.pt"), refuse), UnsafePickleError);
  load_into(live, path("c.pt"), {.select = {.at = "model"}, .open = refuse});
  EXPECT_EQ(values(live.tensor("w")), values(counted({2}, 3)));
  EXPECT_THROW(load_into(live, path("c.pt"), {.strict = false, .open = refuse}), UnsafePickleError);
}

}  // namespace
}  // namespace transload
