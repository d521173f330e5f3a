// verify(): every byte that has a checksum is compared with it.
#include <gtest/gtest.h>

#include <fstream>

#include "small_model.h"

namespace transload {
namespace {

namespace fs = std::filesystem;
using Verify = TestFolder;

void flip(const fs::path& file, std::uint64_t offset) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(offset));
  const char byte = static_cast<char>(stream.get() ^ 1);
  stream.seekp(static_cast<std::streamoff>(offset));
  stream.put(byte);
}

TEST_F(Verify, CountsWhatItHasComparedAndWhatHasNoChecksum) {
  save(small_model(), path("m.pt"));
  save(small_model(), path("m.safetensors"));
  EXPECT_EQ(verify(path("m.pt")).checked_nbytes, 484u);
  EXPECT_EQ(verify(path("m.pt")).unchecked_nbytes, 0u);
  EXPECT_EQ(verify(path("m.safetensors")).checked_nbytes, 0u);
  EXPECT_EQ(verify(path("m.safetensors")).unchecked_nbytes, 484u);
}

TEST_F(Verify, NamesTheStorageAndTheTensorOfADamagedByteAnywhereInThem) {
  save(small_model(), path("m.pt"));
  const Index index = open(path("m.pt"));
  for (const Piece& piece : index.pieces) {
    for (std::uint64_t at = 0; at < piece.nbytes; at += 13) {
      flip(path("m.pt"), piece.extent.offset + at);
      const std::string text = message([&] { verify(path("m.pt")); });
      EXPECT_NE(text.find("\"" + index.storages[piece.storage].key + "\" at offset " +
                          std::to_string(piece.extent.offset)),
                std::string::npos)
          << text;
      EXPECT_EQ(text.find("\n  \"", text.find("\n  \"") + 1), std::string::npos) << text;  // one
      flip(path("m.pt"), piece.extent.offset + at);
    }
  }
  EXPECT_EQ(message([&] { verify(path("m.pt")); }), "no error");
}

TEST_F(Verify, IsDoneByLoadAndLoadIntoIfTheyAreAskedTo) {
  save(small_model(), path("m.pt"));
  const Index index = open(path("m.pt"));
  flip(path("m.pt"), index.pieces[1].extent.offset);
  const Index damaged = open(path("m.pt"));
  for (const bool mapped : {false, true}) {
    EXPECT_THROW(load(damaged, {.mapped = mapped, .verify = true}), FormatError);
    EXPECT_NO_THROW(load(damaged, {.mapped = mapped}));
  }
  for (const bool transactional : {false, true}) {
    const StateDict live = small_model(1000);
    EXPECT_THROW(load_into(live, damaged, {.transactional = transactional, .verify = true}),
                 FormatError);
    for (const NamedTensor& t : live.tensors())
      EXPECT_EQ(values(t.value.tensor()), values(small_model(1000).tensor(t.name)));
  }
}

TEST_F(Verify, OfAFillReadsOnlyWhatIsFilled) {
  save(small_model(), path("m.pt"));
  flip(path("m.pt"), open(path("m.pt")).pieces[1].extent.offset);  // net1.bias
  for (const bool transactional : {false, true}) {
    const StateDict live = small_model(1000);
    load_into(live, path("m.pt"),
              {.select = {.keep = {"net2.*"}},
               .strict = false,
               .transactional = transactional,
               .verify = true});
    EXPECT_EQ(values(live.tensor("net2.bias")), values(small_model().tensor("net2.bias")));
  }
}

}  // namespace
}  // namespace transload
