// Values, devices and torch zip files.

#include <gtest/gtest.h>

#include "small_model.h"

namespace transload {
namespace {

namespace fs = std::filesystem;

const fs::path kData = TRANSLOAD_DATA;

using TorchZip = TestFolder;

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
  StateDict state = small_model();
  StateDict checkpoint = StateDict::dict();
  const Tensor base = counted({4, 6}, 0);
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
  save(small_model(), path("m.pt"));
  const auto size = fs::file_size(path("m.pt"));
  for (std::uintmax_t length = 0; length < size; length += 7) {
    fs::copy_file(path("m.pt"), path("t.pt"), fs::copy_options::overwrite_existing);
    fs::resize_file(path("t.pt"), length);
    EXPECT_THROW(load(path("t.pt")), Error) << length;
  }
}

}  // namespace
}  // namespace transload
