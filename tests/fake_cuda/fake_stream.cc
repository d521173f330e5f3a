// The threads behind emulated streams, and the delays that tests impose on them.
#include "fake_stream.h"

#include <chrono>
#include <utility>

namespace fake_cuda {

void Pace::set_delay(std::uint64_t microseconds) {
  const std::lock_guard lock(mutex_);
  delay_us_ = microseconds;
}

void Pace::hold() {
  const std::lock_guard lock(mutex_);
  held_ = true;
}

void Pace::let_go() {
  const std::lock_guard lock(mutex_);
  held_ = false;
  changed_.notify_all();
}

void Pace::reset() {
  set_delay(0);
  let_go();
}

void Pace::wait_for_turn() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !held_; });
  const std::uint64_t delay_us = delay_us_;
  lock.unlock();
  if (delay_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
}

Stream::Stream(Pace& pace, int device, bool blocking)
    : pace_(pace), device_(device), blocking_(blocking), thread_([this] { run(); }) {}

Stream::~Stream() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

std::uint64_t Stream::enqueue(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  changed_.notify_all();
  return ++last_;
}

std::uint64_t Stream::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

bool Stream::done(std::uint64_t number) const {
  const std::lock_guard lock(mutex_);
  return done_ >= number;
}

void Stream::wait(std::uint64_t number) const {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ >= number; });
}

void Stream::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ending_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    pace_.wait_for_turn();
    work();
    work = nullptr;  // destroys what the work holds before waiters wake up
    lock.lock();
    ++done_;
    changed_.notify_all();
  }
}

}  // namespace fake_cuda
