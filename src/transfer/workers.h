// Threads that work off a numbered list of jobs, while the caller's thread shows progress.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "transload/options.h"

namespace transload {

inline int thread_count(int wanted) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return wanted > 0 ? wanted : std::min(cores, 8);
}

// Runs work(thread number) on each of `threads` threads. The first exception sets `stop`, which the others look at, and
// is thrown here when all have ended; so is what `progress` throws.
inline void run_workers(int threads, const ProgressFunction& progress, std::uint64_t total_nbytes,
                        const std::atomic<std::uint64_t>& done_nbytes, std::atomic<bool>& stop,
                        const std::function<void(int)>& work) {
  if (threads == 1 && !progress) return work(0);  // another thread would be of no use
  std::mutex mutex;
  std::condition_variable ended;
  std::exception_ptr first_error;
  int running = threads;
  const auto guarded = [&](int number) {
    try {
      work(number);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::current_exception();
      stop = true;
    }
    const std::lock_guard lock(mutex);
    --running;
    ended.notify_all();
  };
  {
    std::vector<std::jthread> pool;
    for (int i = 0; i < threads; ++i) pool.emplace_back(guarded, i);
    std::unique_lock lock(mutex);
    while (!ended.wait_for(lock, std::chrono::milliseconds(100), [&] { return running == 0; })) {
      if (!progress || stop) continue;
      lock.unlock();
      std::exception_ptr error;
      try {
        progress({done_nbytes, total_nbytes});
      } catch (...) {
        error = std::current_exception();
        stop = true;
      }
      lock.lock();
      if (error && !first_error) first_error = error;
    }
  }
  if (first_error) std::rethrow_exception(first_error);
  if (progress) progress({done_nbytes, total_nbytes});
}

}  // namespace transload
