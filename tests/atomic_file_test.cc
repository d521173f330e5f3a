// AtomicFile and AtomicFolder: the modes of what they leave, the names that they use, and what a killed save leaves.
#include "io/atomic_file.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "io/temporary.h"
#include "own_process.h"
#include "transload/error.h"

namespace {
int umask_calls = 0;
bool has_unnamed_files = true;  // false: a file system without O_TMPFILE
}  // namespace

// In the program this comes before that of the C library.
extern "C" int open(const char* name, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  if ((flags & O_TMPFILE) == O_TMPFILE && !has_unnamed_files) return errno = EOPNOTSUPP, -1;
  static auto* const next =
      reinterpret_cast<int (*)(const char*, int, ...)>(dlsym(RTLD_NEXT, "open"));
  return next(name, flags, mode);
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
  ~AtomicFileTest() override {
    has_unnamed_files = true;
    fs::remove_all(folder_);
  }

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
  has_unnamed_files = false;
  AtomicFile file(target);
  EXPECT_EQ(octal(mode_of(file.path())), "600");
}

TEST_F(AtomicFileTest, NamesOf255BytesFit) {
  const fs::path target = folder_ / std::string(255, 'n');
  for (const bool unnamed : {true, true, false}) {  // new, then replaced
    has_unnamed_files = unnamed;
    save(target);
    EXPECT_EQ(text_of(target), "new");
  }
  const fs::path shards = folder_ / std::string(255, 's');
  AtomicFolder(shards).commit();
  EXPECT_TRUE(fs::is_directory(shards));
}

// A cut within a character would leave a name that some file systems refuse.
TEST_F(AtomicFileTest, TemporaryNamesOfLongTargetsAreCutBetweenCharacters) {
  std::string name = "x";
  while (name.size() < 253) name += "é";
  has_unnamed_files = false;
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
  has_unnamed_files = false;
  AtomicFile(target).write(0, std::as_bytes(std::span("new")));
  { const AtomicFolder folder(folder_ / "shards"); }
  EXPECT_EQ(text_of(target), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(AtomicFileTest, AKilledSaveLeavesNothingWhereFilesNeedNoName) {
  const fs::path target = folder_ / "model.pt";
  in_own_process([&] { return (new AtomicFile(target))->path().string(); });
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(AtomicFileTest, LeftoversAreWhatKilledSavesLeftAndNotWhatRunsNow) {
  has_unnamed_files = false;
  for (const std::string& name : {std::string("model.pt"), std::string(255, 'n')}) {
    const fs::path target = folder_ / name;
    const fs::path left = in_own_process([&] {
      return (new AtomicFile(target))->path().string();  // the process ends before the save does
    });
    const AtomicFile running(target);
    EXPECT_TRUE(fs::exists(left));
    EXPECT_TRUE(remove_leftovers(folder_ / "other.pt").empty());
    EXPECT_TRUE(fs::exists(left));
    EXPECT_TRUE(remove_leftovers(target).empty());
    EXPECT_FALSE(fs::exists(left));
    EXPECT_TRUE(fs::exists(running.path()));
  }
}

TEST_F(AtomicFileTest, ALinkStaysAndTheFileThatItPointsToIsReplaced) {
  std::ofstream(folder_ / "model.pt") << "old";
  fs::create_symlink("model.pt", folder_ / "latest.pt");
  save(folder_ / "latest.pt");
  EXPECT_TRUE(fs::is_symlink(folder_ / "latest.pt"));
  EXPECT_EQ(text_of(folder_ / "model.pt"), "new");
}

TEST_F(AtomicFileTest, ADanglingLinkStaysAndTheFileThatItNamesIsMade) {
  fs::create_symlink("model.pt", folder_ / "one.pt");
  fs::create_symlink("one.pt", folder_ / "two.pt");
  save(folder_ / "two.pt");
  EXPECT_TRUE(fs::is_symlink(folder_ / "two.pt"));
  EXPECT_TRUE(fs::is_symlink(folder_ / "one.pt"));
  EXPECT_EQ(text_of(folder_ / "model.pt"), "new");
  fs::create_symlink("circle.pt", folder_ / "circle.pt");
  EXPECT_THROW(save(folder_ / "circle.pt"), IoError);
}

TEST_F(AtomicFileTest, APipeGetsTheBytesAndStays) {
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  save(pipe, "through");
  char text[16];
  EXPECT_EQ(std::string(text, static_cast<std::size_t>(::read(reader, text, sizeof text))),
            "through");
  ::close(reader);
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(AtomicFileTest, AFolderIsRefusedByName) {
  try {
    save(folder_);
    FAIL();
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("directory"), std::string::npos) << error.what();
  }
}

TEST_F(AtomicFileTest, ExtendedAttributesAreKept) {
  const fs::path target = folder_ / "model.pt";
  std::ofstream(target) << "old";
  if (setxattr(target.c_str(), "user.run", "7", 1, 0) != 0) GTEST_SKIP() << "no attributes here";
  save(target);
  char value[8];
  ASSERT_EQ(getxattr(target.c_str(), "user.run", value, sizeof value), 1);
  EXPECT_EQ(value[0], '7');
}

TEST_F(AtomicFileTest, TheOwnerIsKept) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const fs::path target = folder_ / "model.pt";
  std::ofstream(target) << "old";
  ASSERT_EQ(chown(target.c_str(), 4711, 4712), 0);
  ASSERT_EQ(chmod(target.c_str(), 0640), 0);
  save(target);
  struct stat about {};
  ASSERT_EQ(stat(target.c_str(), &about), 0);
  EXPECT_EQ(about.st_uid, 4711U);
  EXPECT_EQ(about.st_gid, 4712U);
  EXPECT_EQ(octal(mode_of(target)), "640");
}

TEST_F(AtomicFileTest, InPlaceKeepsHardLinksAndOtherwiseTheyAreNamed) {
  const fs::path target = folder_ / "model.pt", link = folder_ / "link.pt";
  std::ofstream(target) << "the old text";
  fs::create_hard_link(target, link);
  AtomicFile file(target, Replacement::in_place);
  file.write(0, std::as_bytes(std::span("new", 3)));
  EXPECT_EQ(text_of(target), "the old text");
  file.commit();
  EXPECT_EQ(text_of(link), "new");
  EXPECT_TRUE(file.not_kept().empty());
  const AtomicFile replacing(target);
  ASSERT_EQ(replacing.not_kept().size(), 1U);
  EXPECT_NE(replacing.not_kept()[0].find("1 other hard link"), std::string::npos);
}

TEST_F(AtomicFileTest, AFolderThatIsNotWritableIsNamedWithTheWayOut) {
  const fs::path target = folder_ / "model.pt";
  std::ofstream(target) << "old";
  chmod(target.c_str(), 0666);
  chmod(folder_.c_str(), 0555);
  const std::string said = in_own_process([&]() -> std::string {
    if (geteuid() == 0 && setuid(65534) != 0) return "cannot be tried";
    try {
      save(target);
    } catch (const IoError& error) {
      AtomicFile file(target, Replacement::in_place);
      file.write(0, std::as_bytes(std::span("new", 3)));
      file.commit();
      return error.what();
    }
    return "no error";
  });
  chmod(folder_.c_str(), 0755);
  EXPECT_NE(said.find("not writable"), std::string::npos) << said;
  EXPECT_NE(said.find("in_place"), std::string::npos) << said;
  EXPECT_EQ(text_of(target), "new");
}

}  // namespace
}  // namespace transload
