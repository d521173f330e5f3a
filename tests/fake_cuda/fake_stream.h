// Streams of the emulated driver: each a thread with a queue.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace fake_cuda {

// How fast all streams go.
class Pace {
 public:
  void set_delay(std::uint64_t microseconds);
  void hold();
  void let_go();
  void reset();
  // What a stream does before each piece of work.
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
  ~Stream();  // after all that is queued

  int device() const { return device_; }
  bool blocking() const {
    return blocking_;
  }  // waits for the device's default stream, and it for this one

  // Returns the number of this piece of work, from 1 on.
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
  std::thread thread_;  // last: it uses all of the above
};

// A place in a stream: all that was queued until then.
struct Place {
  std::shared_ptr<Stream> stream;  // null: nothing to wait for
  std::uint64_t number = 0;

  bool reached() const { return !stream || stream->done(number); }
  void wait() const {
    if (stream) stream->wait(number);
  }
};

}  // namespace fake_cuda
