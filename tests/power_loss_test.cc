// A file system that loses whatever was not synced, at every step of a save: what is there afterwards is the old file or
// the new one, whole; and once the save has returned, the new one.
//
// The calls that a save makes are noted on their way to the system, then played to a model of a disk: bytes that were
// written and not synced are there or not, each page by itself; names that were made, renamed or removed in a folder
// that was not synced likewise.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <random>

#include "golden.h"
#include "transload/transload.h"

namespace {

struct Call {
  enum class Kind {
    make_file,
    make_unnamed,
    make_folder,
    link,
    write,
    grow,
    sync,
    rename,
    remove
  } kind;
  std::string path, to;
  std::uint64_t offset = 0;
  std::string bytes;
};

const std::string from_proc = "/proc/self/fd/";  // files without a name are linked from there
std::mutex mutex;
std::string watched;  // the folder whose calls are noted; empty: none
std::vector<Call> calls;

std::optional<std::string> watched_path(const std::string& path) {
  const std::lock_guard lock(mutex);
  if (watched.empty()) return std::nullopt;
  if (path + "/" == watched) return "";
  if (!path.starts_with(watched)) return std::nullopt;
  return path.substr(watched.size());
}

std::optional<std::string> watched_path(int descriptor) {
  char path[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t nbytes = readlink(link.c_str(), path, sizeof path);
  return nbytes < 0 ? std::nullopt
                    : watched_path(std::string(path, static_cast<std::size_t>(nbytes)));
}

void note(Call call) {
  const std::lock_guard lock(mutex);
  calls.push_back(std::move(call));
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// In the program these come before those of the C library.
extern "C" {

int open(const char* name, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  const int descriptor = next<int(const char*, int, ...)>("open")(name, flags, mode);
  if (descriptor >= 0 && (flags & O_TMPFILE) == O_TMPFILE) {
    if (const auto path = watched_path(descriptor))
      note({Call::Kind::make_unnamed, *path, "", 0, ""});
  }
  if (!(flags & O_CREAT) || descriptor < 0) return descriptor;
  if (const auto path = watched_path(name)) note({Call::Kind::make_file, *path, "", 0, ""});
  return descriptor;
}

int mkdir(const char* name, mode_t mode) noexcept {
  const int failed = next<int(const char*, mode_t)>("mkdir")(name, mode);
  const auto path = watched_path(std::string(name));
  if (path && !failed) note({Call::Kind::make_folder, *path, "", 0, ""});
  return failed;
}

ssize_t pwrite(int descriptor, const void* bytes, size_t nbytes, off_t offset) {
  const ssize_t done =
      next<ssize_t(int, const void*, size_t, off_t)>("pwrite")(descriptor, bytes, nbytes, offset);
  const auto path = watched_path(descriptor);
  if (path && done > 0)
    note({Call::Kind::write, *path, "", static_cast<std::uint64_t>(offset),
          std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(done))});
  return done;
}

int fallocate(int descriptor, int mode, off_t offset, off_t nbytes) {
  const int failed =
      next<int(int, int, off_t, off_t)>("fallocate")(descriptor, mode, offset, nbytes);
  const auto path = watched_path(descriptor);
  if (path && !failed)
    note({Call::Kind::grow, *path, "", static_cast<std::uint64_t>(offset + nbytes), ""});
  return failed;
}

int fsync(int descriptor) {
  const int failed = next<int(int)>("fsync")(descriptor);
  const auto path = watched_path(descriptor);
  if (path && !failed) note({Call::Kind::sync, *path, "", 0, ""});
  return failed;
}

int rename(const char* from, const char* to) noexcept {
  const int failed = next<int(const char*, const char*)>("rename")(from, to);
  const auto path = watched_path(std::string(from));
  if (path && !failed) note({Call::Kind::rename, *path, *watched_path(std::string(to)), 0, ""});
  return failed;
}

int linkat(int, const char* from, int, const char* to, int flags) noexcept {
  const auto path = watched_path(std::stoi(std::string(from).substr(from_proc.size())));
  const int failed = next<int(int, const char*, int, const char*, int)>("linkat")(
      AT_FDCWD, from, AT_FDCWD, to, flags);
  if (path && !failed) note({Call::Kind::link, *path, *watched_path(std::string(to)), 0, ""});
  return failed;
}

int unlink(const char* name) noexcept {
  const int failed = next<int(const char*)>("unlink")(name);
  const auto path = watched_path(std::string(name));
  if (path && !failed) note({Call::Kind::remove, *path, "", 0, ""});
  return failed;
}
}

namespace transload {
namespace {

using Random = std::mt19937_64;
using Files = std::map<std::string, std::string>;  // by path from the watched folder

// What the disk holds, and what it was told and may not have done yet.
class Disk {
 public:
  explicit Disk(const Files& files) {
    nodes_.push_back({.is_folder = true});
    for (const auto& [path, bytes] : files) {
      nodes_.push_back({.is_folder = false, .bytes = bytes});
      paths_[path] = nodes_.size() - 1;
      nodes_[0].entries[path] = nodes_.size() - 1;
    }
    paths_[""] = 0;
  }

  void play(const Call& call) {
    switch (call.kind) {
      case Call::Kind::make_file:
      case Call::Kind::make_folder:
        nodes_.push_back({.is_folder = call.kind == Call::Kind::make_folder});
        paths_[call.path] = nodes_.size() - 1;
        folder(call.path).changes.push_back({"", name_of(call.path), nodes_.size() - 1});
        return;
      case Call::Kind::make_unnamed:
        nodes_.push_back({.is_folder = false});
        paths_[call.path] = nodes_.size() - 1;
        return;
      case Call::Kind::link:
        paths_[call.to] = paths_.at(call.path);
        folder(call.to).changes.push_back({"", name_of(call.to), paths_.at(call.to)});
        return;
      case Call::Kind::write:
        node(call.path).writes.push_back({call.offset, call.bytes});
        return;
      case Call::Kind::grow:
        node(call.path).writes.push_back({call.offset, ""});
        return;
      case Call::Kind::sync:
        sync(node(call.path));
        return;
      case Call::Kind::rename: {
        const std::size_t moved = paths_.at(call.path);
        folder(call.path).changes.push_back({name_of(call.path), name_of(call.to), moved});
        std::map<std::string, std::size_t> below;  // a folder takes what is in it along
        for (const auto& [path, number] : paths_) {
          if (path == call.path || path.starts_with(call.path + "/"))
            below[call.to + path.substr(call.path.size())] = number;
        }
        std::erase_if(paths_, [&](const auto& entry) {
          return entry.first == call.path || entry.first.starts_with(call.path + "/");
        });
        for (const auto& [path, number] : below) paths_[path] = number;
        return;
      }
      case Call::Kind::remove:
        folder(call.path).changes.push_back({name_of(call.path), "", 0});
        paths_.erase(call.path);
        return;
    }
  }

  // The power fails: of what was not synced, `kept` of 4 is there.
  Files lose_power(unsigned kept, Random& random) const {
    Files files;
    find(0, "", kept, random, files);
    return files;
  }

 private:
  struct Change {
    std::string removed, made;  // both: a rename, done at once
    std::size_t number;
  };
  struct Write {
    std::uint64_t offset;
    std::string bytes;  // none: it grows up to there
  };
  struct Node {
    bool is_folder;
    std::string bytes{};
    std::map<std::string, std::size_t> entries{};
    std::vector<Write> writes{};
    std::vector<Change> changes{};
  };

  static std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
  }
  static std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }
  Node& node(const std::string& path) { return nodes_[paths_.at(path)]; }
  Node& folder(const std::string& path) { return node(folder_of(path)); }

  static void apply(const Change& change, std::map<std::string, std::size_t>& entries) {
    if (!change.removed.empty()) entries.erase(change.removed);
    if (!change.made.empty()) entries[change.made] = change.number;
  }

  static void apply(const Write& write, std::uint64_t begin, std::uint64_t nbytes,
                    std::string& bytes) {
    const std::uint64_t end = write.offset + begin + nbytes;
    if (bytes.size() < end) bytes.resize(end);
    bytes.replace(write.offset + begin, nbytes, write.bytes, begin, nbytes);
  }

  static void sync(Node& synced) {
    for (const Write& write : synced.writes) apply(write, 0, write.bytes.size(), synced.bytes);
    for (const Change& change : synced.changes) apply(change, synced.entries);
    synced.writes.clear();
    synced.changes.clear();
  }

  void find(std::size_t number, const std::string& path, unsigned kept, Random& random,
            Files& files) const {
    constexpr std::uint64_t kPage = 4096;
    const auto is_kept = [&] { return random() % 4 < kept; };
    const Node& found = nodes_[number];
    if (!found.is_folder) {
      std::string bytes = found.bytes;
      for (const Write& write : found.writes) {
        if (write.bytes.empty() && is_kept()) apply(write, 0, 0, bytes);
        for (std::uint64_t at = 0; at < write.bytes.size(); at += kPage)
          if (is_kept())
            apply(write, at, std::min<std::uint64_t>(kPage, write.bytes.size() - at), bytes);
      }
      files[path] = bytes;
      return;
    }
    std::map<std::string, std::size_t> entries = found.entries;
    for (const Change& change : found.changes)
      if (is_kept()) apply(change, entries);
    if (!path.empty() && entries.empty()) files[path + "/"] = "";
    for (const auto& [name, below] : entries)
      find(below, path.empty() ? name : path + "/" + name, kept, random, files);
  }

  std::vector<Node> nodes_;
  std::map<std::string, std::size_t> paths_;  // as the process sees them
};

class PowerLoss : public golden::TemporaryFolder {
 protected:
  ~PowerLoss() override { watched.clear(); }

  static StateDict model(float value) {
    StateDict state;
    for (int i = 0; i < 20; ++i) {
      const Tensor tensor = empty(Dims{i < 2 ? 100'000 : 37}, Dtype::float32);
      for (std::int64_t e = 0; e < tensor.numel(); ++e)
        reinterpret_cast<float*>(tensor.data())[e] = value + static_cast<float>(e + i);
      state.set("layer" + std::to_string(i), tensor);
    }
    return state;
  }

  template <class Function>
  std::vector<Call> calls_of(const Function& function) {
    calls.clear();
    watched = path("").string();
    function();
    watched.clear();
    return calls;
  }

  // The files below `target`, by their paths from the watched folder.
  Files files_at(const std::string& target) const {
    Files files;
    const auto at = path(target);
    if (std::filesystem::is_regular_file(at)) files[target] = golden::file_text(at);
    if (std::filesystem::is_directory(at)) {
      for (const auto& entry : std::filesystem::directory_iterator(at))
        files[target + "/" + entry.path().filename().string()] = golden::file_text(entry.path());
    }
    return files;
  }

  static Files at_target(const Files& files, const std::string& target) {
    Files found;
    for (const auto& [path, bytes] : files) {
      if (path == target || path.starts_with(target + "/")) found[path] = bytes;
    }
    return found;
  }

  // How often, of all places and ways in which the power fails, there is neither the old nor the new; and how often
  // not the new though all calls were made.
  static int losses(const std::vector<Call>& made, const Files& before, const Files& after,
                    const std::string& target) {
    Random random(1);
    int lost = 0;
    for (std::size_t steps = 0; steps <= made.size(); ++steps) {
      Disk disk(before);
      for (std::size_t i = 0; i < steps; ++i) disk.play(made[i]);
      for (int way = 0; way < 12; ++way) {
        const unsigned kept = way == 0 ? 0 : way == 1 ? 4 : static_cast<unsigned>(1 + way % 3);
        const Files found = at_target(disk.lose_power(kept, random), target);
        lost += found != after && (steps == made.size() || found != before);
      }
    }
    return lost;
  }

  static int losses_without(Call::Kind kind, std::vector<Call> made, const std::string& path,
                            const Files& before, const Files& after, const std::string& target) {
    std::erase_if(made, [&](const Call& call) {
      return call.kind == kind && (path.empty() ? call.path.empty() : call.path.ends_with(path));
    });
    return losses(made, before, after, target);
  }
};

TEST_F(PowerLoss, LeavesTheOldFileOrTheNewOne) {
  for (const std::string format : {"torch_zip", "safetensors"}) {
    SCOPED_TRACE(format);
    save(model(1), path("model"), {.format = format});
    const Files before = files_at("model");
    const auto made = calls_of([&] { save(model(2), path("model"), {.format = format}); });
    const Files after = files_at("model");
    ASSERT_NE(before, after);
    ASSERT_GT(made.size(), 5u);
    EXPECT_EQ(losses(made, before, after, "model"), 0);
    // Without the sync of the file, or of the folder, it would not be so.
    EXPECT_GT(losses_without(Call::Kind::sync, made, " (deleted)", before, after, "model"), 0);
    EXPECT_GT(losses_without(Call::Kind::sync, made, "", before, after, "model"), 0);
  }
}

TEST_F(PowerLoss, LeavesNoFolderOfShardsOrAllOfThem) {
  const auto sharded = golden::kData / "torch-2.13" / "sharded_safetensors";
  const auto made = calls_of([&] { convert(sharded, path("shards"), {.format = "shards"}); });
  const Files after = files_at("shards");
  ASSERT_GT(after.size(), 2u);
  EXPECT_EQ(losses(made, {}, after, "shards"), 0);
  EXPECT_GT(losses_without(Call::Kind::sync, made, "", {}, after, "shards"), 0);
}

}  // namespace
}  // namespace transload
