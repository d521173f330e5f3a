// Writes the progress line with terminal control codes.
#include "progress.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <string_view>

#include <fmt/format.h>

#include "words.h"

namespace transload::cli {

ProgressLine::ProgressLine()
    : on_terminal_(isatty(STDERR_FILENO) == 1), start_(std::chrono::steady_clock::now()) {}

ProgressLine::~ProgressLine() {
  constexpr std::string_view kErase = "\r\033[K";  // start of line, erase to its end
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
  const double part =
      static_cast<double>(progress.done_nbytes) / static_cast<double>(progress.total_nbytes);
  std::string line =
      fmt::format("\r\033[K{:3.0f}%  {} of {}, {}", part * 100, human_bytes(progress.done_nbytes),
                  human_bytes(progress.total_nbytes), human_rate(progress.done_nbytes, seconds()));
  if (part > 0) line += fmt::format(", {:.0f} s left", seconds() * (1 - part) / part);
  std::fwrite(line.data(), 1, line.size(), stderr);
  shown_ = true;
}

void print_notes(const std::filesystem::path& target, const SaveResult& result) {
  for (const std::string& lost : result.not_kept) {
    std::cerr << printable(target.string()) << ": does not keep " << with_command_line_options(lost)
              << "\n";
  }
  for (const auto& leftover : result.leftovers)
    std::cerr << printable(leftover.string())
              << ": left behind by an interrupted save, and cannot be removed\n";
}

}  // namespace transload::cli
