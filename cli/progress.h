// The progress of a command as one line on stderr that is rewritten in place. Silent unless stderr
// is a terminal.
#pragma once

#include <chrono>

#include "transload/transload.h"

namespace transload::cli {

class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();  // erases the line
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // Returns a function for IoOptions::progress, or null if stderr is not a terminal. It must not be
  // called after this object is destroyed.
  ProgressFunction function();
  double seconds() const;  // since the constructor

 private:
  void show(const Progress& progress);

  bool on_terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point start_;
};

// Runs `work`, which moves bytes with these options, while the progress line shows. Returns the
// seconds it took.
template <class Work>
double run_with_progress(IoOptions& io, Work work) {
  ProgressLine progress;
  io.progress = progress.function();
  work();
  io.progress = nullptr;
  return progress.seconds();
}

}  // namespace transload::cli
