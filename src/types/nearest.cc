// Edit distance by one row of the dynamic programming table.
#include "types/nearest.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace transload {
namespace {

constexpr std::size_t kMostCandidates = 4000, kMaxNbytes = 200;

// Returns the Levenshtein distance, ignoring ASCII case. O(a.size() * b.size()).
std::size_t distance(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (lower(a[i - 1]) != lower(b[j - 1]));
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string_view nearest(std::string_view name, std::span<const std::string> candidates) {
  std::string_view found;
  if (name.size() > kMaxNbytes) return found;
  std::size_t least = std::max<std::size_t>(2, name.size() / 4) + 1;
  for (const std::string& candidate :
       candidates.first(std::min(candidates.size(), kMostCandidates))) {
    const std::size_t sizes_differ = candidate.size() > name.size()
                                         ? candidate.size() - name.size()
                                         : name.size() - candidate.size();
    if (sizes_differ >= least) continue;  // the distance is at least that
    const std::size_t changes = distance(name, candidate);
    if (changes >= least) continue;
    least = changes;
    found = candidate;
  }
  return found;
}

}  // namespace transload
