// Waits for the signals in a thread of its own: the others have them blocked, so that no handler interrupts a system call.
#include "interruption.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <string_view>

#include <fmt/format.h>

#include "words.h"

namespace transload::cli {
namespace {

struct SignalName {
  int number;
  std::string_view name;
};
constexpr std::array kSignals = {SignalName{SIGINT, "SIGINT"}, SignalName{SIGTERM, "SIGTERM"},
                                 SignalName{SIGHUP, "SIGHUP"}};
constexpr int kExitStatus = 128;  // of a shell: 128 + signal
constexpr int kPatienceMs = 2000;

bool is_ignored(int number) {
  struct sigaction action {};
  return sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

std::string_view name_of(int number) {
  for (const auto& [known, name] : kSignals)
    if (known == number) return name;
  return "a signal";
}

void print(const std::string& text) {
  const ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
  static_cast<void>(ignored);
}

// Waits until one of them can be read, at most this long; -1: for ever. Returns false at the end of that time.
bool wait_for(std::array<pollfd, 2>& ends, int timeout_ms) {
  int ready = 0;
  do ready = poll(ends.data(), ends.size(), timeout_ms);
  while (ready < 0 && errno == EINTR);
  return ready > 0;
}

}  // namespace

Interruption& interruption() {
  static Interruption one;
  return one;
}

Interruption::Interruption() {
  sigemptyset(&signals_);
  for (const auto& [number, name] : kSignals)
    if (!is_ignored(number)) sigaddset(&signals_, number);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  arrived_ = signalfd(-1, &signals_, SFD_CLOEXEC);
  ended_ = eventfd(0, EFD_CLOEXEC);
  if (arrived_ >= 0 && ended_ >= 0)
    thread_ = std::thread([this] { wait(); });
  else
    pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);  // they end the program then, without a word
}

Interruption::~Interruption() {
  if (thread_.joinable()) {
    const std::uint64_t one = 1;
    const ssize_t ignored = ::write(ended_, &one, sizeof one);
    static_cast<void>(ignored);
    thread_.join();
  }
  if (arrived_ >= 0) close(arrived_);
  if (ended_ >= 0) close(ended_);
}

void Interruption::wait() {
  std::array<pollfd, 2> ends{pollfd{arrived_, POLLIN, 0}, pollfd{ended_, POLLIN, 0}};
  wait_for(ends, -1);
  if (ends[1].revents) return;
  signalfd_siginfo info{};
  if (::read(arrived_, &info, sizeof info) != sizeof info) return;
  signal_ = static_cast<int>(info.ssi_signo);
  bool is_writing = false;
  {
    const std::lock_guard lock(mutex_);
    is_writing = target_.has_value();
  }
  if (is_writing && wait_for(ends, kPatienceMs) && ends[1].revents) return;
  print(text());
  _exit(kExitStatus + signal_);
}

void Interruption::protect(const std::filesystem::path& target) {
  const std::lock_guard lock(mutex_);
  target_ = target;
  before_ = state_of(target);
}

void Interruption::stop_if_asked() const {
  if (signal_ != 0) throw Interrupted();
}

std::optional<int> Interruption::report() const {
  if (signal_ == 0) return std::nullopt;
  print(text());
  return kExitStatus + signal_;
}

Interruption::State Interruption::state_of(const std::filesystem::path& path) {
  State state{};
  state.exists = stat(path.c_str(), &state.about) == 0;
  return state;
}

std::string Interruption::text() const {
  const std::lock_guard lock(mutex_);
  std::string text = fmt::format("interrupted by {}", name_of(signal_));
  if (!target_) return text + "\n";
  const State now = state_of(*target_);
  const bool is_same = now.exists == before_.exists && now.about.st_ino == before_.about.st_ino &&
                       now.about.st_size == before_.about.st_size &&
                       now.about.st_mtim.tv_sec == before_.about.st_mtim.tv_sec &&
                       now.about.st_mtim.tv_nsec == before_.about.st_mtim.tv_nsec;
  return text + fmt::format("; {} {}\n", printable(target_->string()),
                            is_same ? "was not changed" : "was written before");
}

}  // namespace transload::cli
