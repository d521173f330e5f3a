// recover(): what is whole of a damaged file is written, and what is lost is named.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "archive/zip_read.h"
#include "golden.h"
#include "small_model.h"
#include "stored_zip.h"

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

TEST_F(Recover, KeepsTheTensorsOfSafetensorsUpToTheCut) {
  StateDict model = small_model();
  model.set("net1.tied", model.tensor("net1.weight"));
  save(model, path("m.safetensors"), {.metadata = {{"trained", "yes"}}});
  const Index index = open(path("m.safetensors"));
  std::vector<std::uint64_t> ends;
  for (const Piece& piece : index.pieces) ends.push_back(piece.extent.offset + piece.extent.nbytes);
  std::ranges::sort(ends);
  fs::resize_file(path("m.safetensors"), ends[2] - 1);
  const RecoverResult result = recover(path("m.safetensors"), path("good.safetensors"));
  const StateDict good = load(path("good.safetensors"));
  EXPECT_EQ(good.size(), result.intact);
  EXPECT_EQ(result.intact + result.lost.size(), 5u);
  ASSERT_FALSE(result.lost.empty());
  EXPECT_TRUE(result.lost[0].reason.starts_with("the file ends after ")) << result.lost[0].reason;
  for (const NamedTensor& tensor : good.tensors())
    EXPECT_EQ(values(tensor.value.tensor()), values(model.tensor(tensor.name))) << tensor.name;
  EXPECT_EQ(open(path("good.safetensors")).metadata.at("trained"), "yes");
}

TEST_F(Recover, LeavesOutBytesBehindTheLastTensorOfSafetensors) {
  save(small_model(), path("m.safetensors"));
  const std::string whole = golden::file_text(path("m.safetensors"));
  golden::write_file(path("m.safetensors"), whole + std::string(16, '\0'));
  EXPECT_THROW(open(path("m.safetensors")), FormatError);
  const RecoverResult result = recover(path("m.safetensors"), path("good.safetensors"));
  EXPECT_EQ(result.intact, 4u);
  EXPECT_TRUE(result.lost.empty());
  EXPECT_EQ(golden::file_text(path("good.safetensors")), whole);
}

TEST_F(Recover, TakesNothingFromSafetensorsWhoseHeaderIsCutOrWhoseTensorsOverlap) {
  save(small_model(), path("m.safetensors"));
  fs::resize_file(path("m.safetensors"), 100);
  EXPECT_THROW(recover(path("m.safetensors"), path("good.safetensors")), FormatError);
  EXPECT_THROW(
      recover(golden::kData / "torch-2.13/refuse/overlap.safetensors", path("good.safetensors")),
      FormatError);
  EXPECT_FALSE(fs::exists(path("good.safetensors")));
}

// Writes the members of a file of torch.save into a zip archive as other programs do.
class Repacked : public Recover {
 protected:
  void repack(const std::string& folder, const std::vector<std::string>& first_members) const {
    save(small_model(), path("m.pt"));
    ZipContainer zip(open_file(path("m.pt")));
    std::vector<std::pair<std::string, std::string>> members;
    for (const std::string& name : first_members) members.emplace_back(name, "other");
    for (Member& member : zip.members()) {
      const std::string_view name = member.name.substr(member.name.find('/') + 1);
      members.emplace_back(folder + std::string(name), zip.read(member, 1 << 20));
    }
    golden::write_file(path("again.pt"), stored_zip(members));
  }
};

TEST_F(Repacked, FilesAreReadOrTheirErrorSaysThatRecoverRepairsThem) {
  const struct {
    const char* folder;
    std::vector<std::string> first;
    bool is_read;
  } cases[] = {
      {"other/", {}, true},
      {"other/", {"other/.DS_Store"}, true},
      {"m/", {"__MACOSX/._m", "__MACOSX/m/._data.pkl"}, false},
      {"", {}, false},
      {"work/run7/m/", {}, false},
      {"work/m/", {"work/.DS_Store"}, false},
  };
  for (const auto& [folder, first, is_read] : cases) {
    repack(folder, first);
    const std::string text = message([&] { open(path("again.pt")); });
    EXPECT_EQ(text, is_read ? "no error" : text);
    EXPECT_EQ(text.find("recover writes one that PyTorch opens") == std::string::npos, is_read)
        << text;
    const RecoverResult result = recover(path("again.pt"), path("good.pt"));
    EXPECT_EQ(result.intact, 4u) << folder;
    EXPECT_TRUE(result.lost.empty()) << folder;
    EXPECT_EQ(values(load(path("good.pt")).tensor("net2.weight")),
              values(small_model().tensor("net2.weight")));
  }
}

TEST_F(Recover, AnArchiveInATensorIsNotOneOfSeveral) {
  save(small_model(), path("m.pt"));
  const std::string one = golden::file_text(path("m.pt"));
  const Tensor bytes = empty({static_cast<std::int64_t>(one.size())}, Dtype::uint8);
  std::memcpy(bytes.data(), one.data(), one.size());
  StateDict state;
  state.set("w", counted({4}, 1));
  state.set("file", bytes);
  save(state, path("outer.pt"));
  const Index index = open(path("outer.pt"));
  const Extent inner = index.pieces_of(index.contents["file"].storage_number()).front().extent;
  fs::resize_file(path("outer.pt"), inner.offset + inner.nbytes);
  EXPECT_EQ(recover(path("outer.pt"), path("good.pt")).intact, 2u);
}

TEST_F(Recover, RefusesSeveralArchivesOneAfterTheOther) {
  save(small_model(), path("m.pt"));
  const std::string one = golden::file_text(path("m.pt"));
  golden::write_file(path("0_0.distcp"), one + one);
  const std::string text = message([&] { recover(path("0_0.distcp"), path("good.pt")); });
  EXPECT_NE(text.find("torch.distributed.checkpoint"), std::string::npos) << text;
  EXPECT_FALSE(fs::exists(path("good.pt")));
}

}  // namespace
}  // namespace transload
