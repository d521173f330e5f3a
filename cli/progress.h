// The progress of a command as one line on stderr that is rewritten in place. Silent unless stderr
// is a terminal.
#pragma once

#include <chrono>
#include <filesystem>

#include "interruption.h"
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
// seconds it took. Throws Interrupted if a signal asks the command to stop.
template <class Work>
double run_with_progress(IoOptions& io, Work work) {
  ProgressLine progress;
  io.progress = [show = progress.function()](const Progress& now) {
    interruption().stop_if_asked();
    if (show) show(now);
  };
  work();
  io.progress = nullptr;
  return progress.seconds();
}

// Says on stderr what a save could not keep of the old file, and what killed saves left that it could
// not remove.
void print_notes(const std::filesystem::path& target, const SaveResult& result);

}  // namespace transload::cli
