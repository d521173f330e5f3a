// How far a command is, in one line on stderr that is rewritten in place. Silent unless stderr is a terminal.
#pragma once

#include <chrono>
#include <string>

#include "transload/transload.h"

namespace transload::cli {

// "404 bytes", "1.50 MB": powers of 1000, three digits.
std::string human(std::uint64_t nbytes);
std::string human_rate(std::uint64_t nbytes, double seconds);  // "1.50 GB/s"

class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();  // removes the line
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // For Engine::progress; empty if nothing is to be shown. Not to be called after this object is gone.
  ProgressFunction function();
  double seconds() const;  // since it was made

 private:
  void show(const Progress& progress);

  bool on_terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace transload::cli
