// SIGINT, SIGTERM and SIGHUP. A command that writes stops between two copies, so that what it began is removed; every other
// command ends at once. Either way with one line on stderr and the exit status 128 + signal.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <exception>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include <signal.h>

namespace transload::cli {

// Thrown out of a command that stops because of a signal.
class Interrupted : public std::exception {};

class Interruption {
 public:
  // Takes the signals over from now on, except those that are ignored (nohup). To be created before any other thread.
  Interruption();
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  // From now on a signal asks the command to stop. A command that takes longer than two seconds to do so, or gets a
  // second signal, is ended.
  void protect(const std::filesystem::path& target);
  // Throws Interrupted if a signal came.
  void stop_if_asked() const;
  // Says on stderr what a signal interrupted. Returns the exit status; nullopt if none came.
  std::optional<int> report() const;

 private:
  struct State {  // of the target, enough to see that another file took its place
    bool exists;
    struct stat about;
  };
  static State state_of(const std::filesystem::path& path);
  void wait();
  std::string text() const;

  sigset_t signals_{};
  int arrived_ = -1, ended_ = -1;  // a signalfd, and an eventfd that ends the thread
  std::atomic<int> signal_ = 0;
  mutable std::mutex mutex_;  // guards target_ and before_
  std::optional<std::filesystem::path> target_;
  State before_{};
  std::thread thread_;
};

// The program's one.
Interruption& interruption();

}  // namespace transload::cli
