// How much memory a process may use, read from made-up trees of /proc and of control groups.
#include "device/host_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace transload {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMb = 1'000'000;

class HostMemoryTest : public testing::Test {
 protected:
  HostMemoryTest() {
    std::string name = (fs::temp_directory_path() / "host-memory-XXXXXX").string();
    root_ = mkdtemp(name.data());
    put("proc/meminfo", "MemTotal:  1000000 kB\nMemFree: 5 kB\nMemAvailable:  800000 kB\n");
  }
  ~HostMemoryTest() override { fs::remove_all(root_); }

  void put(const fs::path& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void put_v2(const std::string& group, const std::string& mounted = "/") const {
    put("proc/self/cgroup", "0::" + group + "\n");
    put("proc/self/mountinfo", "25 1 0:5 / /proc rw - proc proc rw\n30 23 0:26 " + mounted +
                                   " /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n");
  }
  HostMemory found() const { return host_memory(root_ / "proc", root_); }

  fs::path root_;
};

TEST_F(HostMemoryTest, WithoutLimitsIsWhatTheMachineHas) {
  EXPECT_EQ(found().total, 1'024'000'000U);
  EXPECT_EQ(found().free, 819'200'000U);
  EXPECT_EQ(found().limit, "");
  put_v2("/a");
  put("sys/fs/cgroup/a/memory.max", "max\n");
  EXPECT_EQ(found().free, 819'200'000U);
  EXPECT_EQ(found().limit, "");
}

TEST_F(HostMemoryTest, Version2CountsInactiveFilesAsFree) {
  put_v2("/a");
  put("sys/fs/cgroup/a/memory.max", "500000000\n");
  put("sys/fs/cgroup/a/memory.current", "300000000\n");
  put("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 100000000\nactive_file 5\n");
  EXPECT_EQ(found().free, 300 * kMb);
  EXPECT_EQ(found().total, 500 * kMb);
  EXPECT_NE(found().limit.find("memory.max of"), std::string::npos);
  EXPECT_NE(found().limit.find("cgroup/a (500 MB)"), std::string::npos) << found().limit;
}

TEST_F(HostMemoryTest, TheTightestGroupUpToTheRootDecides) {
  put_v2("/a/b/c");
  put("sys/fs/cgroup/a/b/c/memory.max", "700000000\n");
  put("sys/fs/cgroup/a/memory.high", "200000000\n");
  put("sys/fs/cgroup/a/memory.max", "600000000\n");
  EXPECT_EQ(found().free, 200 * kMb);
  EXPECT_NE(found().limit.find("memory.high of"), std::string::npos);
  put("sys/fs/cgroup/memory.max", "100000000\n");  // as in a namespace
  EXPECT_EQ(found().free, 100 * kMb);
}

TEST_F(HostMemoryTest, AMountMayShowAPartOfTheHierarchy) {
  put_v2("/docker/x/job", "/docker/x");
  put("sys/fs/cgroup/job/memory.max", "300000000\n");
  EXPECT_EQ(found().free, 300 * kMb);
}

TEST_F(HostMemoryTest, AGroupOutsideOfTheNamespaceIsThatOfTheMount) {
  put_v2("/../other");
  put("sys/fs/cgroup/memory.max", "300000000\n");
  put("sys/fs/other/memory.max", "1\n");  // not to be reached through ..
  EXPECT_EQ(found().free, 300 * kMb);
  put_v2("/../other", "/..");
  put("sys/fs/cgroup/other/memory.max", "200000000\n");
  EXPECT_EQ(found().free, 200 * kMb);
}

TEST_F(HostMemoryTest, Version1NeedsHierarchyForTheGroupsAbove) {
  put("proc/self/cgroup", "5:cpu,memory:/a/b\n0::/\n");
  put("proc/self/mountinfo",
      "31 23 0:28 / /sys/fs/my\\040groups rw - cgroup cgroup rw,cpu,memory\n");
  put("sys/fs/my groups/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  put("sys/fs/my groups/a/memory.limit_in_bytes", "400000000\n");
  put("sys/fs/my groups/a/memory.usage_in_bytes", "150000000\n");
  put("sys/fs/my groups/a/memory.stat", "inactive_file 1\ntotal_inactive_file 50000000\n");
  put("sys/fs/my groups/a/memory.use_hierarchy", "1\n");
  EXPECT_EQ(found().free, 300 * kMb);
  put("sys/fs/my groups/a/memory.use_hierarchy", "0\n");
  EXPECT_EQ(found().free, 819'200'000U);
}

TEST_F(HostMemoryTest, LimitsOfTheProcessCountWhatIsMapped) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  put("proc/self/limits",
      "Limit                     Soft Limit           Hard Limit           Units\n"
      "Max data size             unlimited            unlimited            bytes\n"
      "Max address space         600000000            unlimited            bytes\n");
  put("proc/self/statm", "1000 100 50 10 0 500 0\n");
  EXPECT_EQ(found().free, 600 * kMb - 1000 * page);
  EXPECT_TRUE(found().limit.starts_with("RLIMIT_AS"));
  put("proc/self/limits", "Max data size             1000                 unlimited    bytes\n");
  EXPECT_EQ(found().free, 0U);  // more is in use than the limit
}

TEST_F(HostMemoryTest, WrongFilesLimitNothing) {
  put("proc/self/cgroup", "nonsense\n0:\n0::/a\n");
  put("proc/self/mountinfo", "30 23\n- cgroup2\n1 2 3 / /sys/fs/cgroup rw - cgroup2\n");
  put("sys/fs/cgroup/a/memory.max", "lots\n");
  put("proc/self/limits", "Max address space\n");
  EXPECT_EQ(found().free, 819'200'000U);
  fs::remove(root_ / "proc/meminfo");
  EXPECT_EQ(found().free, 0U);
}

}  // namespace
}  // namespace transload
