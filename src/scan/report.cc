#include "scan/report.h"

#include <algorithm>
#include <cctype>
#include <cstring>

namespace transload {
namespace {

constexpr std::uint64_t kLeastBudget = 64 << 20, kBudgetPerByte = 20;

}  // namespace

Report::Report(std::filesystem::path path, std::uint64_t file_nbytes)
    : budget_nbytes_(kLeastBudget + kBudgetPerByte * file_nbytes) {
  scan_.path = std::move(path);
}

void Report::add(const PickleScan& found, std::uint64_t at) {
  for (PickleUse use : found.uses) {
    if (is_full()) return add_broken(at, "the pickles use more names than a model does");
    use.offset += at;
    add_use(std::move(use));
  }
}

void Report::add_use(PickleUse use) { scan_.uses.push_back(std::move(use)); }

void Report::add_finding(bool suspicious, std::uint64_t offset, std::string what) {
  if (scan_.findings.size() < kMostFindings || (suspicious && !is_suspicious_))
    scan_.findings.push_back({suspicious, offset, std::move(what)});
  is_suspicious_ = is_suspicious_ || suspicious;
}

void Report::add_broken(std::uint64_t offset, std::string what) {
  scan_.broken = true;
  add_finding(false, offset, std::move(what));
}

void Report::add(const Scan& other, const std::string& name) {
  scan_.broken = scan_.broken || other.broken;
  for (PickleUse use : other.uses) {
    if (!name.empty()) use.member = name + "/" + use.member;
    add_use(std::move(use));
  }
  for (const Finding& finding : other.findings)
    add_finding(finding.suspicious, finding.offset,
                (name.empty() ? "" : name + ": ") + finding.what);
}

void Report::clear() {
  scan_.uses.clear();
  scan_.findings.clear();
  scan_.broken = is_suspicious_ = false;
}

bool Report::take(std::uint64_t nbytes) {
  if (nbytes > budget_nbytes_) return false;
  budget_nbytes_ -= nbytes;
  return true;
}

Scan Report::finish(std::string format) {
  scan_.format = std::move(format);
  for (const PickleUse& use : scan_.uses) scan_.verdict = std::max(scan_.verdict, use.verdict);
  return std::move(scan_);
}

bool does_harm(const std::vector<PickleUse>& uses) {
  const auto in_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || std::strchr("_.()", c);
  };
  return std::ranges::any_of(uses, [&](const PickleUse& use) {
    const bool is_description = use.name.starts_with("a ") || use.name.starts_with("what was ");
    return use.verdict == Verdict::runs_code && use.how != PickleUse::How::extension &&
           (is_description || std::ranges::all_of(use.name, in_name));
  });
}

}  // namespace transload
