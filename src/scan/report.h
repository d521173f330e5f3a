// Report: what a scan has found so far, within bounds that do not depend on what the file claims.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "scan/pickle_scan.h"
#include "transload/scan.h"

namespace transload {

class Report {
 public:
  // file_nbytes: of the whole file; what may be decompressed of it is bounded by a multiple of that.
  Report(std::filesystem::path path, std::uint64_t file_nbytes);

  // Adds the names that a pickle uses. at: of the pickle in its member's bytes.
  void add(const PickleScan& found, std::uint64_t at);
  void add_use(PickleUse use);
  // suspicious: no writer of models makes it, and it can hide one thing behind another.
  void add_finding(bool suspicious, std::uint64_t offset, std::string what);
  // The file cannot be read to its end.
  void add_broken(std::uint64_t offset, std::string what);
  // Adds what another scan found, of the shard or member with this name; empty: of the same file.
  void add(const Scan& other, const std::string& name);

  bool is_full() const { return scan_.uses.size() >= kMostUses; }
  bool is_clean() const { return scan_.uses.empty() && scan_.findings.empty(); }
  bool is_broken() const { return scan_.broken; }
  const std::vector<PickleUse>& uses() const { return scan_.uses; }
  // Forgets what was found, for a file that turned out to be no pickle.
  void clear();

  // Takes nbytes from the budget of bytes that may be decompressed; false if it is spent.
  bool take(std::uint64_t nbytes);

  // The scan, with the worst verdict of its uses.
  Scan finish(std::string format);

 private:
  static constexpr std::size_t kMostUses = 10'000, kMostFindings = 100;

  Scan scan_;
  bool is_suspicious_ = false;
  std::uint64_t budget_nbytes_;
};

// Whether what was read as a pickle, although nothing says that it is one, does harm. Prose is not a pickle, though an "i" or
// "c" in it imports two lines: the lines of a pickle are names.
bool does_harm(const std::vector<PickleUse>& uses);

}  // namespace transload
