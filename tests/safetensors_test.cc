// safetensors: what the reference wrote is read, what it would refuse is refused, what we write is what it would write.
#include <cstring>
#include <functional>

#include "golden.h"
#include "transload/transload.h"

namespace transload {
namespace {

using golden::file_text;
using golden::kData;
using golden::write_file;
namespace fs = std::filesystem;

class Safetensors : public golden::TemporaryFolder {
 protected:
  // A file with this header and so many bytes behind it: 1, 2, 3, …
  fs::path file(const std::string& header, std::size_t data_nbytes) const {
    std::string text;
    for (std::size_t i = 0; i < 8; ++i) text += static_cast<char>(header.size() >> (8 * i) & 0xFF);
    text += header;
    for (std::size_t i = 0; i < data_nbytes; ++i) text += static_cast<char>(i + 1);
    write_file(path("made.safetensors"), text);
    return path("made.safetensors");
  }
};

std::string message(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string message_of_open(const fs::path& path) {
  return message([&] { open(path); });
}

Tensor counted(Dims shape) {
  const Tensor tensor = empty(shape, Dtype::float32);
  for (std::int64_t i = 0; i < tensor.numel(); ++i)
    reinterpret_cast<float*>(tensor.data())[i] = static_cast<float>(i);
  return tensor;
}

Tensor view(const Tensor& of, Dims shape, Dims stride, std::int64_t offset = 0) {
  return {of.storage(), of.dtype(), std::move(shape), std::move(stride), offset};
}

std::vector<std::string> keys(const StateDict& state) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < state.size(); ++i)
    all.emplace_back(state.root().entry(i).first.text());
  return all;
}

Dims dims(const rapidjson::Value& list) {
  std::vector<std::int64_t> values;
  for (const auto& value : list.GetArray()) values.push_back(value.GetInt64());
  return values;
}

// ---- reading ----

TEST_F(Safetensors, EveryFileOfTheReferenceIsReadAsItsManifestSays) {
  const auto manifest = golden::manifest("torch-2.13");
  int files = 0;
  for (const auto& entry : manifest["files"].GetArray()) {
    const std::string name = entry["file"].GetString(), expect = entry["expect"].GetString();
    if (!name.ends_with(".safetensors") || name.find('/') != std::string::npos || expect != "load")
      continue;
    SCOPED_TRACE(name);
    ++files;
    const Index index = open(kData / "torch-2.13" / name);
    EXPECT_EQ(index.format, "safetensors");
    EXPECT_EQ(index.contents.tensors().size(), entry["tensors"].Size());
    for (const auto& expected : entry["tensors"].GetArray()) {
      const Value found = index.contents[expected["name"].GetString()];
      const StoredStorage& storage = index.storages[found.storage_number()];
      EXPECT_EQ(index.locations[storage.location], expected["location"].GetString());
      EXPECT_EQ(storage.key, expected["storage"].GetString());
      EXPECT_EQ(transload::name(found.tensor().dtype()), expected["dtype"].GetString());
      EXPECT_EQ(found.tensor().shape(), dims(expected["shape"]));
      EXPECT_EQ(found.tensor().stride(), dims(expected["stride"]));
    }
    for (const auto& [key, text] : index.metadata)
      EXPECT_EQ(text, entry["metadata"][key.c_str()].GetString());
  }
  EXPECT_GE(files, 7);
}

TEST_F(Safetensors, EveryDamagedFileIsRefusedWithItsName) {
  const auto manifest = golden::manifest("torch-2.13");
  int files = 0;
  for (const auto& entry : manifest["files"].GetArray()) {
    const std::string name = entry["file"].GetString(), expect = entry["expect"].GetString();
    if (!name.ends_with(".safetensors") || expect != "refuse" || entry.HasMember("may_load"))
      continue;
    SCOPED_TRACE(name);
    ++files;
    EXPECT_TRUE(message_of_open(kData / "torch-2.13" / name)
                    .starts_with((kData / "torch-2.13" / name).string() + ": "));
  }
  EXPECT_GE(files, 35);
}

TEST_F(Safetensors, EveryShorterFileIsRefused) {
  const std::string whole = file_text(kData / "torch-2.13/toy.safetensors");
  for (std::size_t nbytes = 0; nbytes < whole.size(); nbytes += nbytes < 400 ? 1 : 37) {
    write_file(path("cut.safetensors"), whole.substr(0, nbytes));
    EXPECT_THROW(open(path("cut.safetensors")), Error) << nbytes;
  }
}

TEST_F(Safetensors, AnyByteOfTheHeaderMayBeWrong) {
  const std::string whole = file_text(kData / "torch-2.13/toy.safetensors");
  for (std::size_t at = 0; at < 328; ++at) {
    for (const char wrong : {'\0', '"', '9', '{', ']', '\xFF'}) {
      std::string damaged = whole;
      damaged[at] = wrong;
      write_file(path("damaged.safetensors"), damaged);
      message_of_open(path("damaged.safetensors"));  // sound or refused: but it returns
    }
  }
}

TEST_F(Safetensors, AHoleBetweenTensorsIsRefused) {
  const auto made = file(
      R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})",
      4);
  EXPECT_EQ(message_of_open(made),
            made.string() + ": offset 115: 1 bytes that belong to no tensor, before \"b\"");
}

TEST_F(Safetensors, TensorsThatOverlapAreRefused) {
  const auto made = file(
      R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
      3);
  EXPECT_EQ(message_of_open(made), made.string() + ": offset 114: \"b\" begins inside of \"a\"");
}

TEST_F(Safetensors, ATensorWithoutElementsMayStandAnywhere) {
  const auto made = file(
      R"({"z":{"dtype":"F32","shape":[0,3],"data_offsets":[2,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
      2);
  EXPECT_EQ(open(made).contents.tensor("z").shape(), (Dims{0, 3}));
}

TEST_F(Safetensors, AShapeThatOverflowsIsRefused) {
  for (const char* shape : {"[4294967296,4294967296]", "[2305843009213693952]",
                            "[0,4611686018427387904,4]", "[9223372036854775808]"}) {
    const auto made = file(
        R"({"a":{"dtype":"F64","shape":)" + std::string(shape) + R"(,"data_offsets":[0,0]}})", 0);
    EXPECT_NE(message_of_open(made).find("tensor \"a\": "), std::string::npos) << shape;
  }
}

TEST_F(Safetensors, AnUnknownFieldOfAnEntryIsPassedOver) {
  const auto made = file(
      R"({"a":{"dtype":"U8","note":{"x":[1,-2.5,{"y":null}],"z":true},"shape":[2],"data_offsets":[0,2]}})",
      2);
  EXPECT_EQ(open(made).contents.tensor("a").shape(), Dims{2});
}

TEST_F(Safetensors, JsonThatIsNestedTooDeepIsRefused) {
  const std::string deep = std::string(200, '[') + std::string(200, ']');
  const auto made =
      file(R"({"a":{"note":)" + deep + R"(,"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0);
  EXPECT_NE(message_of_open(made).find("128 deep"), std::string::npos);
}

TEST_F(Safetensors, ANameThatStandsTwiceIsRefused) {
  const auto made = file(
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
      2);
  EXPECT_NE(message_of_open(made).find("tensor \"a\" twice"), std::string::npos);
}

TEST_F(Safetensors, AnUnknownDtypeIsNamed) {
  const auto made = file(R"({"a":{"dtype":"F12","shape":[2],"data_offsets":[0,3]}})", 3);
  EXPECT_NE(message_of_open(made).find("tensor \"a\": dtype \"F12\" is not known"),
            std::string::npos);
}

TEST_F(Safetensors, PairsOfFloat4AreCountedAsTorchDoes) {
  const Index index = open(kData / "torch-2.13/dtypes.safetensors");  // the file says [32]
  EXPECT_EQ(index.contents.tensor("float4_e2m1fn_x2").shape(), Dims{16});
  save(load(index), path("again.safetensors"));
  EXPECT_EQ(open(path("again.safetensors")).contents.tensor("float4_e2m1fn_x2").shape(), Dims{16});
}

TEST_F(Safetensors, BytesAreLoadedFromWhereTheHeaderSays) {
  const auto made = file(
      R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
      3);
  const StateDict state = load(made);
  EXPECT_EQ(element_bytes(state.tensor("a")), std::vector<std::byte>{std::byte{1}});
  EXPECT_EQ(element_bytes(state.tensor("b")), (std::vector<std::byte>{std::byte{2}, std::byte{3}}));
}

// ---- writing ----

TEST_F(Safetensors, WhatWeWriteIsTheReferencesFileByteForByte) {
  for (const char* name : {"toy.safetensors", "no_tensors.safetensors"}) {
    const Index index = open(kData / "torch-2.13" / name);
    SaveOptions options;
    options.metadata = index.metadata;
    save(load(index), path(name), options);
    EXPECT_EQ(file_text(path(name)), file_text(kData / "torch-2.13" / name));
  }
}

TEST_F(Safetensors, TensorsStandByFallingAlignmentThenByName) {
  StateDict state;
  for (const char* name : {"b", "a"})
    for (const Dtype dtype : {Dtype::boolean, Dtype::float16, Dtype::float32, Dtype::int64})
      state.set(std::string(name) + std::string(transload::name(dtype)), zeros({1}, dtype));
  save(state, path("a.safetensors"));
  const std::vector<std::string> expected{"aint64",   "bint64",   "afloat32", "bfloat32",
                                          "afloat16", "bfloat16", "abool",    "bbool"};
  EXPECT_EQ(keys(load(path("a.safetensors"))), expected);
}

TEST_F(Safetensors, MetadataIsKeptAndSaysThatItIsOfPytorch) {
  StateDict state;
  state.set("a", zeros({2}, Dtype::int8));
  SaveOptions options;
  options.metadata = {{"note", "naïve \"☃\"\n"}};
  save(state, path("a.safetensors"), options);
  EXPECT_EQ(open(path("a.safetensors")).metadata,
            (std::map<std::string, std::string>{{"format", "pt"}, {"note", "naïve \"☃\"\n"}}));
}

TEST_F(Safetensors, TiedTensorsAreWrittenOnceAndAreTiedAgainWhenRead) {
  const Tensor weight = counted({10, 10});
  StateDict state;
  state.set("embed.weight", weight);
  state.set("head.weight", weight);
  state.set("other", counted({10, 10}));
  const SaveResult saved = save(state, path("tied.safetensors"));
  EXPECT_LT(saved.nbytes, 3 * 400u);
  const StateDict again = load(path("tied.safetensors"));
  EXPECT_EQ(again.size(), 3u);
  EXPECT_EQ(again.tensor("embed.weight").storage().identity(),
            again.tensor("head.weight").storage().identity());
  EXPECT_NE(again.tensor("embed.weight").storage().identity(),
            again.tensor("other").storage().identity());
  EXPECT_TRUE(open(path("tied.safetensors")).metadata.contains("format"));
  EXPECT_FALSE(open(path("tied.safetensors")).metadata.contains("transload.tied"));
}

TEST_F(Safetensors, ATieToANameThatIsNotThereIsRefused) {
  const auto made = file(
      R"({"__metadata__":{"transload.tied":"{\"b\":\"c\"}"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
      1);
  EXPECT_NE(message_of_open(made).find("\"b\" is tied to \"c\", which is not in the file"),
            std::string::npos);
}

TEST_F(Safetensors, ViewsThatOnlyOverlapAreWrittenEach) {
  const Tensor whole = counted({10});
  StateDict state;
  state.set("whole", whole);
  state.set("tail", view(whole, {4}, {1}, 6));
  save(state, path("views.safetensors"));
  const StateDict again = load(path("views.safetensors"));
  EXPECT_EQ(element_bytes(again.tensor("tail")), element_bytes(view(whole, {4}, {1}, 6)));
  EXPECT_NE(again.tensor("whole").storage().identity(), again.tensor("tail").storage().identity());
}

TEST_F(Safetensors, ViewsOfAnyStridesAreWrittenRowMajor) {
  const Tensor block = counted({4, 5, 6});
  const Tensor views[] = {
      view(block, {5, 4, 6}, {6, 30, 1}),      // transposed outside: runs of 6
      view(block, {6, 5, 4}, {1, 6, 30}),      // turned round: runs of one element
      view(block, {4, 3, 2}, {30, 12, 3}, 1),  // every second row and third column
      view(block, {3, 20}, {0, 1}, 7),         // expanded
      view(block, {60}, {2}),
      view(block, {4, 1, 30}, {30, 99, 1}),
  };
  StateDict state;
  for (std::size_t i = 0; i < std::size(views); ++i)
    state.set("view" + std::to_string(i), views[i]);
  save(state, path("views.safetensors"));
  const StateDict again = load(path("views.safetensors"));
  for (std::size_t i = 0; i < std::size(views); ++i) {
    const Tensor found = again.tensor("view" + std::to_string(i));
    EXPECT_EQ(found.shape(), views[i].shape()) << i;
    EXPECT_TRUE(found.is_contiguous()) << i;
    EXPECT_EQ(element_bytes(found), element_bytes(views[i])) << i;
  }
}

TEST_F(Safetensors, AStridedTensorOfAnySizeIsWrittenRowMajor) {
  StateDict state;  // 90,000 runs of one element
  const Tensor turned = view(counted({300, 300}), {300, 300}, {1, 300});
  state.set("turned", turned);
  save(state, path("a.safetensors"));
  const Index index = open(path("a.safetensors"));
  EXPECT_EQ(index.pieces.size(), 1u);
  EXPECT_EQ(element_bytes(load(index).tensor("turned")), element_bytes(turned));
}

TEST_F(Safetensors, WhatItCannotHoldIsRefusedBeforeAnythingIsWritten) {
  const StateDict nested;
  Tensor conjugate = zeros({2}, Dtype::complex64);
  conjugate.conj = true;
  const std::pair<Item, const char*> refused[] = {
      {std::int64_t{3}, "is of type int"},
      {nullptr, "is of type None"},
      {std::cref(nested), "is of type OrderedDict"},
      {zeros({2}, Dtype::complex128), "is complex128, which safetensors has not"},
      {conjugate, "is stored as its conjugate"},
      {empty({2}, Dtype::float32, kMeta), "is on meta"},
  };
  for (const auto& [item, expected] : refused) {
    StateDict state;
    state.set("sound", zeros({2}, Dtype::float32));
    state.set("wrong", item);
    const std::string text = message([&] { save(state, path("a.safetensors")); });
    EXPECT_TRUE(text.starts_with("a.safetensors: \"wrong\" " + std::string(expected))) << text;
    EXPECT_FALSE(fs::exists(path("a.safetensors")));
  }
  EXPECT_THROW(save(StateDict::list(), path("a.safetensors")), UnsupportedError);
}

TEST_F(Safetensors, KeysThatTheFormatCannotHoldAreRefused) {
  for (const char* key : {"__metadata__", "not UTF-8: \xFF"}) {
    StateDict state;
    state.set(key, zeros({2}, Dtype::float32));
    EXPECT_THROW(save(state, path("a.safetensors")), UnsupportedError) << key;
  }
  StateDict state;
  state.set(7, zeros({2}, Dtype::float32));
  EXPECT_THROW(save(state, path("a.safetensors")), UnsupportedError);
}

}  // namespace
}  // namespace transload
