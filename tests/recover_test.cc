// recover(): what is whole of a damaged file is written, and what is lost is named.
#include <gtest/gtest.h>

#include <fstream>

#include "small_model.h"

namespace transload {
namespace {

namespace fs = std::filesystem;
using Recover = TestFolder;

TEST_F(Recover, KeepsWhatIsWholeOfAFileCutShort) {
  save(small_model(), path("m.pt"));
  const Index index = open(path("m.pt"));
  fs::resize_file(path("m.pt"), index.pieces[2].extent.offset + 8);  // in net2.weight
  const RecoverResult result = recover(path("m.pt"), path("good.pt"));
  EXPECT_EQ(result.intact, 2u);
  ASSERT_EQ(result.lost.size(), 2u);
  EXPECT_EQ(result.lost[0].name, "net2.weight");
  const StateDict good = load(path("good.pt"));
  EXPECT_EQ(values(good.tensor("net1.weight")), values(small_model().tensor("net1.weight")));
  EXPECT_EQ(values(good.tensor("net1.bias")), values(small_model().tensor("net1.bias")));
  EXPECT_EQ(good.size(), 2u);
}

TEST_F(Recover, LeavesOutWhatDiffersFromItsChecksum) {
  save(small_model(), path("m.pt"));
  const std::uint64_t at = open(path("m.pt")).pieces[1].extent.offset;
  {
    std::fstream stream(path("m.pt"), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(127);
  }
  const RecoverResult result = recover(path("m.pt"), path("good.pt"));
  EXPECT_EQ(result.intact, 3u);
  ASSERT_EQ(result.lost.size(), 1u);
  EXPECT_EQ(result.lost[0].name, "net1.bias");
  EXPECT_EQ(result.lost[0].reason, "its bytes are not those that were saved");
  EXPECT_NO_THROW(verify(path("good.pt")));
}

TEST_F(Recover, WritesNothingIfNothingIsWhole) {
  StateDict state;
  state.set("w", counted({100}, 1));
  save(state, path("m.pt"));
  fs::resize_file(path("m.pt"), open(path("m.pt")).pieces[0].extent.offset + 8);
  EXPECT_THROW(recover(path("m.pt"), path("good.pt")), FormatError);
  EXPECT_FALSE(fs::exists(path("good.pt")));
}

}  // namespace
}  // namespace transload
