// AtomicFile and AtomicFolder: the modes of what they leave, the names that they use, and what a killed save leaves.
#include "io/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "own_process.h"

namespace {
int umask_calls = 0;
}

// Takes the place of the C library's: counts how often the code under test calls it.
extern "C" mode_t umask(mode_t mask) noexcept {
  ++umask_calls;
  return static_cast<mode_t>(syscall(SYS_umask, mask));
}

namespace transload {
namespace {

namespace fs = std::filesystem;

mode_t mode_of(const fs::path& path) {
  struct stat about {};
  EXPECT_EQ(stat(path.c_str(), &about), 0) << path;
  return about.st_mode & 07777;
}

std::string octal(mode_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%o", mode);
  return text;
}

void save(const fs::path& target, const std::string& text = "new") {
  AtomicFile file(target);
  file.write(0, std::as_bytes(std::span(text)));
  file.commit();
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class AtomicFileTest : public testing::Test {
 protected:
  AtomicFileTest() {
    std::string name = (fs::temp_directory_path() / "atomic-file-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~AtomicFileTest() override { fs::remove_all(folder_); }

  // What `work` returns when it runs under this umask.
  template <class Work>
  static std::string with_umask(mode_t mask, const Work& work) {
    return in_own_process([&] {
      umask(mask);
      umask_calls = 0;
      const std::string result = work();
      return umask_calls ? "umask() was called" : result;
    });
  }

  fs::path folder_;
};

TEST_F(AtomicFileTest, ModesOfNewFilesFollowTheUmask) {
  for (const auto& [mask, mode] : {std::pair{0, "666"}, {027, "640"}, {077, "600"}}) {
    const fs::path target = folder_ / mode;
    EXPECT_EQ(with_umask(static_cast<mode_t>(mask),
                         [&] {
                           save(target);
                           return octal(mode_of(target));
                         }),
              mode);
  }
}

TEST_F(AtomicFileTest, ModesOfNewFoldersFollowTheUmask) {
  for (const auto& [mask, mode] : {std::pair{0, "777"}, {027, "750"}, {077, "700"}}) {
    const fs::path target = folder_ / mode;
    EXPECT_EQ(with_umask(static_cast<mode_t>(mask),
                         [&] {
                           AtomicFolder(target).commit();
                           return octal(mode_of(target));
                         }),
              mode);
  }
}

TEST_F(AtomicFileTest, TheModeOfAnExistingFileIsKept) {
  const fs::path target = folder_ / "model.pt";
  for (const mode_t mode : {0604U, 0600U, 0666U}) {
    std::ofstream(target) << "old";
    chmod(target.c_str(), mode);
    EXPECT_EQ(with_umask(027,
                         [&] {
                           save(target);
                           return octal(mode_of(target));
                         }),
              octal(mode));
    EXPECT_EQ(text_of(target), "new");
  }
}

TEST_F(AtomicFileTest, TheModeOfAnExistingFolderIsKept) {
  const fs::path target = folder_ / "shards";
  fs::create_directory(target);
  chmod(target.c_str(), 0705);
  AtomicFolder(target).commit();
  EXPECT_EQ(octal(mode_of(target)), "705");
}

// A program that opens the temporary file while its mode is wider could read what is written to it later.
TEST_F(AtomicFileTest, TheTemporaryFileOfAPrivateFileIsPrivate) {
  const fs::path target = folder_ / "model.pt";
  std::ofstream(target) << "old";
  chmod(target.c_str(), 0600);
  AtomicFile file(target);
  EXPECT_EQ(octal(mode_of(file.path())), "600");
}

TEST_F(AtomicFileTest, NamesOf255BytesFit) {
  const fs::path target = folder_ / std::string(255, 'n');
  save(target);
  EXPECT_EQ(text_of(target), "new");
  const fs::path shards = folder_ / std::string(255, 's');
  AtomicFolder(shards).commit();
  EXPECT_TRUE(fs::is_directory(shards));
}

// A cut within a character would leave a name that some file systems refuse.
TEST_F(AtomicFileTest, TemporaryNamesOfLongTargetsAreCutBetweenCharacters) {
  std::string name = "x";
  while (name.size() < 253) name += "é";
  AtomicFile file(folder_ / name);
  const std::string beside = file.path().filename().string();
  EXPECT_LE(beside.size(), 255U);
  const std::string kept = beside.substr(1, beside.find('.', 1) - 1);
  EXPECT_EQ(kept.size() % 2, 1U) << kept;  // "x" and whole characters of two bytes
  EXPECT_TRUE(name.starts_with(kept));
}

TEST_F(AtomicFileTest, WithoutACommitNothingIsLeft) {
  const fs::path target = folder_ / "model.pt";
  std::ofstream(target) << "old";
  AtomicFile(target).write(0, std::as_bytes(std::span("new")));
  { const AtomicFolder folder(folder_ / "shards"); }
  EXPECT_EQ(text_of(target), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(AtomicFileTest, LeftoversAreWhatKilledSavesLeftAndNotWhatRunsNow) {
  for (const std::string& name : {std::string("model.pt"), std::string(255, 'n')}) {
    const fs::path target = folder_ / name;
    const fs::path left = in_own_process([&] {
      return (new AtomicFile(target))->path().string();  // the process ends before the save does
    });
    const AtomicFile running(target);
    EXPECT_EQ(leftovers(target), std::vector{left});
  }
  EXPECT_TRUE(leftovers(folder_ / "other.pt").empty());
}

TEST_F(AtomicFileTest, ALinkStaysAndTheFileThatItPointsToIsReplaced) {
  std::ofstream(folder_ / "model.pt") << "old";
  fs::create_symlink("model.pt", folder_ / "latest.pt");
  save(folder_ / "latest.pt");
  EXPECT_TRUE(fs::is_symlink(folder_ / "latest.pt"));
  EXPECT_EQ(text_of(folder_ / "model.pt"), "new");
}

}  // namespace
}  // namespace transload
