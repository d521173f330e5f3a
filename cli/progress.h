// How far a command is, in one line on stderr that is rewritten in place. Silent unless stderr is a terminal.
#pragma once

#include <chrono>

#include "transload/transload.h"

namespace transload::cli {

class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();  // removes the line
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // For IoOptions::progress; empty if nothing is to be shown. Not to be called after this object is gone.
  ProgressFunction function();
  double seconds() const;  // since it was made

 private:
  void show(const Progress& progress);

  bool on_terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace transload::cli
