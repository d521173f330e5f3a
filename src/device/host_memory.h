// How much host memory this process may still use: what the machine has, and the limits of its control groups and of its
// own (setrlimit). cpu.cc reports it as the memory of the device cpu.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace transload {

struct HostMemory {
  std::uint64_t total = 0;  // bytes: of the machine, or the limit that leaves the least
  std::uint64_t free = 0;   // bytes that this process can still allocate
  std::string
      limit;  // the limit that decides `free`: "memory.max of /sys/fs/cgroup/job"; empty: the machine
};

// Reads PROC/meminfo, and in PROC/self cgroup, mountinfo, limits and statm. Control groups, of version 1 and 2, are found
// at the mount points that mountinfo names, below `root`. What is missing limits nothing. Never throws for a wrong file.
HostMemory host_memory(const std::filesystem::path& proc = "/proc",
                       const std::filesystem::path& root = "/");

}  // namespace transload
