// The streams of the emulated driver. Each is a thread with a queue of work. All classes are
// thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace fake_cuda {

// The pace of all streams: a delay before each piece of work, or a stop.
class Pace {
 public:
  void set_delay(std::uint64_t microseconds);
  void hold();
  void let_go();
  void reset();
  // Called by a stream before each piece of work: blocks while held, then sleeps for the delay.
  void wait_for_turn();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t delay_us_ = 0;
  bool held_ = false;
};

class Stream {
 public:
  Stream(Pace& pace, int device, bool blocking);
  ~Stream();  // blocks until all queued work is done

  int device() const { return device_; }
  // Whether the stream and the device's default stream wait for each other (CU_STREAM_DEFAULT).
  bool blocking() const { return blocking_; }

  // Queues work and returns its number, counted from 1.
  std::uint64_t enqueue(std::function<void()> work);
  std::uint64_t last() const;
  bool done(std::uint64_t number) const;
  void wait(std::uint64_t number) const;

 private:
  void run();

  Pace& pace_;
  const int device_;
  const bool blocking_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  std::uint64_t last_ = 0, done_ = 0;
  bool ending_ = false;
  std::thread thread_;  // last, because it uses all members above
};

// A place in a stream: stands for all work queued up to it.
struct Place {
  std::shared_ptr<Stream> stream;  // null: reached from the start
  std::uint64_t number = 0;

  bool reached() const { return !stream || stream->done(number); }
  void wait() const {
    if (stream) stream->wait(number);
  }
};

}  // namespace fake_cuda
