#include "plan/way_out.h"

#include <algorithm>
#include <optional>

#include "plan/select.h"
#include "types/nearest.h"
#include "types/quotes.h"
#include "values/paths.h"

namespace transload {
namespace {

// Of the keys that differ, those that are looked at.
constexpr std::size_t kMostKeys = 20;

bool has_wildcard(std::string_view text) {
  return text.find_first_of("*?") != std::string_view::npos;
}

// Where the parts of a key begin, its end included: 0, 2, 4 for "a.b/".
std::vector<std::size_t> cuts_of(const std::string& key) {
  std::vector<std::size_t> cuts{0};
  for (std::size_t at = key.find_first_of("./"); at != std::string::npos;
       at = key.find_first_of("./", at + 1))
    cuts.push_back(at + 1);
  return cuts;
}

// "blocks.*." for "blocks.0.": one rule for all blocks.
std::string with_stars_for_numbers(std::string_view prefix) {
  std::string pattern;
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    const std::size_t end = std::min(prefix.find_first_of("./", i), prefix.size());
    const std::string_view part = prefix.substr(i, end - i);
    const bool is_number =
        !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
    pattern += is_number ? "*" : std::string(part);
    if (end < prefix.size()) pattern += prefix[end];
    i = end;
  }
  return pattern;
}

struct Advice {
  std::vector<Rename> rename;
  std::string where, what_it_does;
};

// Renames that take `segment`, which begins at `begin` in the key, out of all keys.
std::vector<Advice> removals(const std::string& key, std::size_t begin,
                             const std::string& segment) {
  const std::string star = "*";
  if (begin == 0) {
    return {{{{segment + star, star}},
             "the file's keys begin with " + in_quotes(segment) + "; ",
             " strips it"}};
  }
  const std::string where = "the file's keys have " + in_quotes(segment) + " in them; ";
  const std::string before = star + key[begin - 1];
  return {{{{before + segment + star, before + star}}, where, " strips it"},
          {{{star + segment + star, "**"}}, where, " strips it"}};
}

// Renames that put `segment`, which begins at `begin` in the live key, into all keys.
Advice insertion(const std::string& key, std::size_t begin, const std::string& segment) {
  const std::string before = with_stars_for_numbers(std::string_view(key).substr(0, begin));
  return {{{before + "*", before + segment + "*"}},
          "the live model's keys " + std::string(begin == 0 ? "begin with " : "have ") +
              in_quotes(segment) + (begin == 0 ? "; " : " in them; "),
          " adds it to the file's"};
}

class Adviser {
 public:
  explicit Adviser(const Mismatch& mismatch)
      : mismatch_(mismatch),
        missing_(mismatch.keys.missing.begin(), mismatch.keys.missing.end()),
        unexpected_(mismatch.keys.unexpected.begin(), mismatch.keys.unexpected.end()) {}

  // The part of the source that the live model is, by the keys that it lacks.
  std::optional<std::string> part() const {
    const StateDict& source = mismatch_.source;
    const std::string& at = mismatch_.options.select.at;
    for (const std::string& key : first(mismatch_.keys.unexpected)) {
      for (const std::size_t end : cuts_of(key)) {
        if (end == 0 || key[end - 1] != '/' || !missing_.contains(key.substr(end))) continue;
        const std::string path = (at.empty() ? "" : at + "/") + key.substr(0, end - 1);
        if (find_path(source.nodes(), source.root().id(), path) != kNoNode) return path;
      }
    }
    return std::nullopt;
  }

  // The rename that makes the most keys match, if any does.
  std::optional<Advice> rename() const {
    std::optional<Advice> best;
    std::size_t most = mismatch_.live.size() - missing_.size();
    for (Advice& advice : candidates()) {
      const std::size_t matched = matched_with(advice.rename);
      if (matched <= most) continue;
      most = matched;
      best = std::move(advice);
    }
    return best;
  }

 private:
  static std::vector<std::string> first(const std::vector<std::string>& keys) {
    return {keys.begin(),
            keys.begin() + static_cast<std::ptrdiff_t>(std::min(keys.size(), kMostKeys))};
  }

  std::vector<Advice> candidates() const {
    std::vector<Advice> all;
    std::set<std::string> known;  // segments and where they begin
    const auto search = [&](const std::vector<std::string>& longer,
                            const std::set<std::string>& shorter, auto add) {
      for (const std::string& key : first(longer)) {
        const std::vector<std::size_t> cuts = cuts_of(key);
        for (std::size_t i = 0; i < cuts.size(); ++i) {
          for (std::size_t j = i + 1; j < cuts.size(); ++j) {
            const std::string segment = key.substr(cuts[i], cuts[j] - cuts[i]);
            const std::string rest = key.substr(0, cuts[i]) + key.substr(cuts[j]);
            if (shorter.contains(rest) && !has_wildcard(key.substr(0, cuts[j])))
              add(key, cuts[i], segment);
          }
        }
      }
    };
    search(mismatch_.keys.unexpected, missing_,
           [&](const std::string& key, std::size_t begin, const std::string& segment) {
             if (!known.insert((begin == 0 ? "^" : "") + segment).second) return;
             for (Advice& advice : removals(key, begin, segment)) all.push_back(std::move(advice));
           });
    search(mismatch_.keys.missing, unexpected_,
           [&](const std::string& key, std::size_t begin, const std::string& segment) {
             Advice advice = insertion(key, begin, segment);
             if (known.insert("+" + advice.rename.front().new_name).second)
               all.push_back(std::move(advice));
           });
    return all;
  }

  // How many live tensors have a source after a rename; 0 if two sources get one name, or if a
  // live tensor loses the source that it has.
  std::size_t matched_with(const std::vector<Rename>& rename) const {
    std::set<std::string> names;
    for (const std::string& source : mismatch_.sources) {
      const auto name = selected_name({.rename = rename}, source);
      if (!name || !names.insert(*name).second) return 0;
    }
    std::size_t matched = 0;
    for (const std::string& key : mismatch_.live) {
      const bool is_there = names.contains(key);
      if (!is_there && !missing_.contains(key)) return 0;
      matched += is_there;
    }
    return matched;
  }

  const Mismatch& mismatch_;
  std::set<std::string> missing_, unexpected_;
};

// Names a key of the file for the first few missing ones that it nearly is.
void advise_near_keys(Error& error, const FillResult& keys) {
  constexpr std::size_t kMost = 5;
  std::vector<std::string> left = keys.unexpected;
  Setting rename{"rename", {}};
  for (std::size_t i = 0; i < std::min(keys.missing.size(), kMost); ++i) {
    const std::string& missing = keys.missing[i];
    const std::string near(nearest(missing, left));
    if (near.empty()) continue;
    error.add(in_quotes(missing) + " is nearly the file's " + in_quotes(near));
    if (!has_wildcard(missing) && !has_wildcard(near)) {
      rename.values.push_back(near);
      rename.mapped_to.push_back(missing);
    }
    std::erase(left, near);
  }
  if (!rename.values.empty())
    error.add_advice("", {rename}, rename.values.size() == 1 ? " matches it" : " matches them");
}

}  // namespace

void advise_names(Error& error, const Mismatch& mismatch) {
  // Patterns are of keys before they are renamed, which the lists of keys do not have.
  if (!mismatch.options.select.rename.empty()) return;
  const Adviser adviser(mismatch);
  if (const auto at = adviser.part()) {
    error.add_advice("the live model is one part of this checkpoint; pass ", {{"at", {*at}}}, "");
  } else if (const auto advice = adviser.rename()) {
    Setting rename{"rename", {}};
    for (const auto& [pattern, new_name] : advice->rename) {
      rename.values.push_back(pattern);
      rename.mapped_to.push_back(new_name);
    }
    error.add_advice(advice->where, {rename}, advice->what_it_does);
  } else {
    advise_near_keys(error, mismatch.keys);
  }
}

void advise_drop(Error& error, const Mismatch& mismatch) {
  constexpr std::size_t kMostPatterns = 8;
  const std::set<std::string> misfits(mismatch.misfits.begin(), mismatch.misfits.end());
  const auto fits_misfits_only = [&](const std::string& pattern) {
    return std::ranges::all_of(mismatch.sources, [&](const std::string& name) {
      return misfits.contains(name) || !fits(pattern, name);
    });
  };
  std::vector<std::string> patterns = mismatch.options.select.drop;
  const std::size_t most = patterns.size() + kMostPatterns;
  for (const std::string& name : mismatch.misfits) {
    const auto is_dropped = [&](const std::string& pattern) { return fits(pattern, name); };
    if (std::ranges::any_of(patterns, is_dropped)) continue;
    std::string pattern = name;
    for (const std::size_t end : cuts_of(name)) {
      const std::string prefix = name.substr(0, end) + "*";
      if (end == 0 || has_wildcard(name.substr(0, end)) || !fits_misfits_only(prefix)) continue;
      pattern = prefix;
      break;
    }
    if (patterns.size() == most || !fits_misfits_only(pattern)) return;
    patterns.push_back(pattern);
  }
  error.add_advice(
      "", {{"drop", patterns}, {"strict", {}}},
      mismatch.misfits.size() == 1 ? " leaves it as it is" : " leaves them as they are");
}

}  // namespace transload
