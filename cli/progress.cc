#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

#include <fmt/format.h>

namespace transload::cli {

std::string human(std::uint64_t nbytes) {
  if (nbytes < 1000) return fmt::format("{} bytes", nbytes);
  constexpr std::array<std::string_view, 6> kUnits{"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(nbytes) / 1000;
  std::size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  const int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, digits, kUnits[unit]);
}

std::string human_rate(std::uint64_t nbytes, double seconds) {
  return human(static_cast<std::uint64_t>(static_cast<double>(nbytes) / std::max(seconds, 1e-9))) + "/s";
}

ProgressLine::ProgressLine() : on_terminal_(isatty(STDERR_FILENO) == 1), start_(std::chrono::steady_clock::now()) {}

ProgressLine::~ProgressLine() {
  constexpr std::string_view kErase = "\r\033[K";
  if (shown_) std::fwrite(kErase.data(), 1, kErase.size(), stderr);
}

ProgressFunction ProgressLine::function() {
  if (!on_terminal_) return nullptr;
  return [this](const Progress& progress) { show(progress); };
}

double ProgressLine::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void ProgressLine::show(const Progress& progress) {
  if (progress.total_nbytes == 0) return;
  const double part = static_cast<double>(progress.done_nbytes) / static_cast<double>(progress.total_nbytes);
  std::string line = fmt::format("\r\033[K{:3.0f}%  {} of {}, {}", part * 100, human(progress.done_nbytes),
                                 human(progress.total_nbytes), human_rate(progress.done_nbytes, seconds()));
  if (part > 0) line += fmt::format(", {:.0f} s left", seconds() * (1 - part) / part);
  std::fwrite(line.data(), 1, line.size(), stderr);
  shown_ = true;
}

}  // namespace transload::cli
