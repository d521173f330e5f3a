// Reads the limits of memory from /proc and from the control groups.
//
// A process is in one group of each hierarchy, and the limits of that group and of all above it apply. /proc/self/cgroup
// names the group (cgroups(7)), /proc/self/mountinfo where the hierarchy is mounted and which part of it (proc(5)).
#include "device/host_memory.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "transload/device.h"

namespace transload {
namespace {

namespace fs = std::filesystem;

struct Limit {
  std::uint64_t most, left;  // bytes
  std::string name;
};

enum class Version : std::uint8_t { v1, v2 };

struct Mount {
  Version version;
  std::string group;  // the group that its folder shows
  fs::path folder;
};

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// The number in a file of one line; nullopt for "max", and if there is no such file.
std::optional<std::uint64_t> number_in(const fs::path& path) {
  std::string word;
  std::ifstream(path) >> word;
  return number(word);
}

// The number behind a name in a file of lines "NAME NUMBER ...".
std::optional<std::uint64_t> number_in(const fs::path& path, std::string_view name) {
  for (const std::string& line : lines_of(path)) {
    const std::vector<std::string> words = words_of(line);
    if (words.size() >= 2 && words[0] == name) return number(words[1]);
  }
  return std::nullopt;
}

std::uint64_t minus(std::uint64_t a, std::uint64_t b) { return a - std::min(a, b); }

bool has_word(std::string_view list, std::string_view word) {  // of "a,b,c"
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    if (list.substr(begin, end - begin) == word) return true;
    begin = end + 1;
  }
  return false;
}

// mountinfo writes a space, a tab, a line break and a backslash as \ooo.
std::string unescaped(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    const char* const begin = text.data() + i + 1;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(begin, begin + 3, code, 8).ptr == begin + 3) {
      out += static_cast<char>(code);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// Lines of mountinfo: ID PARENT MAJOR:MINOR GROUP FOLDER OPTIONS [TAG...] - TYPE SOURCE OPTIONS.
std::vector<Mount> mounts_of(const fs::path& mountinfo) {
  std::vector<Mount> mounts;
  for (const std::string& line : lines_of(mountinfo)) {
    const std::vector<std::string> words = words_of(line);
    const auto dash = std::ranges::find(words, "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    const bool is_v2 = dash[1] == "cgroup2";
    if (!is_v2 && (dash[1] != "cgroup" || !has_word(dash[3], "memory"))) continue;
    mounts.push_back({is_v2 ? Version::v2 : Version::v1, unescaped(words[3]), unescaped(words[4])});
  }
  return mounts;
}

// The process's group in the hierarchy. Lines: NUMBER:CONTROLLERS:GROUP; version 2 has the number 0 and no controllers.
std::optional<std::string> group_of(const fs::path& cgroup, Version version) {
  for (const std::string& line : lines_of(cgroup)) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (version == Version::v2 ? controllers.empty() : has_word(controllers, "memory"))
      return line.substr(second + 1);
  }
  return std::nullopt;
}

// Where the group is below the mount's folder; "" if it is not below it, as for a process that was moved out of its
// namespace: its group begins with "/..". The mounted group stands for it then.
std::string below(const std::string& mounted, const std::string& group) {
  const std::string begin = mounted == "/" ? "" : mounted;
  if (!group.starts_with(begin) || (group.size() > begin.size() && group[begin.size()] != '/'))
    return "";
  const std::string rest = group.substr(begin.size());
  return (rest + "/").find("/../") == std::string::npos ? rest : "";
}

// A limit of a group and what it leaves. Pages of files that were not used lately are given back when memory gets tight.
void add_limit(const fs::path& folder, const char* limit, const char* usage,
               const char* reclaimable, std::vector<Limit>& limits) {
  const auto most = number_in(folder / limit);
  if (!most) return;
  const std::uint64_t used = minus(number_in(folder / usage).value_or(0),
                                   number_in(folder / "memory.stat", reclaimable).value_or(0));
  limits.push_back({*most, minus(*most, used), std::string(limit) + " of " + folder.string()});
}

void add_limits_of(const Mount& mount, const std::string& group, const fs::path& root,
                   std::vector<Limit>& limits) {
  const fs::path top = root / mount.folder.relative_path();
  fs::path folder = top / fs::path(below(mount.group, group)).relative_path();
  if (!folder.has_filename()) folder = folder.parent_path();  // "a/" names a
  for (bool is_own = true;; folder = folder.parent_path(), is_own = false) {
    if (mount.version == Version::v2) {
      for (const char* limit : {"memory.max", "memory.high"})
        add_limit(folder, limit, "memory.current", "inactive_file", limits);
    } else if (is_own || number_in(folder / "memory.use_hierarchy") != 0) {
      // Without use_hierarchy a group does not count what is used below it.
      add_limit(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
                limits);
    }
    if (folder == top || folder.string().size() <= top.string().size()) return;
  }
}

// Lines of limits: "Max address space     1000    unlimited    bytes", the soft limit first.
void add_own_limits(const fs::path& self, std::vector<Limit>& limits) {
  struct Own {
    std::string_view begin;
    std::size_t used;  // number in statm, which counts pages
    const char* name;
  };
  const std::vector<std::string> pages = [&] {
    const std::vector<std::string> lines = lines_of(self / "statm");
    return lines.empty() ? std::vector<std::string>() : words_of(lines.front());
  }();
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  for (const Own& own : {Own{"Max address space ", 0, "RLIMIT_AS (ulimit -v)"},
                         Own{"Max data size ", 5, "RLIMIT_DATA (ulimit -d)"}}) {
    for (const std::string& line : lines_of(self / "limits")) {
      if (!line.starts_with(own.begin)) continue;
      const std::vector<std::string> words = words_of(line.substr(own.begin.size()));
      const auto most = words.empty() ? std::nullopt : number(words.front());
      const auto used = own.used < pages.size() ? number(pages[own.used]) : std::nullopt;
      if (most) limits.push_back({*most, minus(*most, used.value_or(0) * page), own.name});
    }
  }
}

}  // namespace

HostMemory host_memory(const fs::path& proc, const fs::path& root) {
  HostMemory memory;
  memory.total = number_in(proc / "meminfo", "MemTotal:").value_or(0) * 1024;
  memory.free = number_in(proc / "meminfo", "MemAvailable:").value_or(0) * 1024;
  std::vector<Limit> limits;
  for (const Mount& mount : mounts_of(proc / "self/mountinfo")) {
    if (const auto group = group_of(proc / "self/cgroup", mount.version))
      add_limits_of(mount, *group, root, limits);
  }
  add_own_limits(proc / "self", limits);
  for (const Limit& limit : limits) {
    if (limit.left >= memory.free) continue;
    memory.free = limit.left;
    memory.total = std::min(memory.total, limit.most);
    memory.limit = limit.name + " (" + human_bytes(limit.most) + ")";
  }
  return memory;
}

}  // namespace transload
