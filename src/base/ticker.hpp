// SPDX-License-Identifier: Apache-2.0
// A thread that looks at something again and again, until it is told not to.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>

#include "base/thread.hpp"
#include "base/unique_function.hpp"

namespace coppice::base {

/// Calls `look` on its own thread, once per period, under its lock; what that returns is called
/// after the lock was released, for work that may take its time.
///
/// Promises: locked(fn) never overlaps a look, so what was taken away in it is not looked at again;
/// the thread is made by the first period that is not zero, sleeps while the period is zero, and
/// has ended when stop() returns.
///
/// # Why not a worker with a timed wait?
/// A worker has no lock that outlives one job: whoever takes something away from it would not know
/// whether it is being used.
///
/// Owner: one object. Thread: locked() any; stop() and the destructor the owner's.
class ticker {
 public:
  using afterwards = unique_function<void()>;  // May be empty.

  ticker(std::string name, unique_function<afterwards()> look)
      : name_(std::move(name)), look_(std::move(look)) {}
  ~ticker() { stop(); }
  ticker(const ticker&) = delete;
  ticker& operator=(const ticker&) = delete;

  /// Runs `fn`, which returns the period from now on; zero: do not look. Nobody looks, either, if
  /// there is no thread to be had; the next call tries again.
  template <class Fn>
  void locked(Fn&& fn) {
    const std::lock_guard lock(mutex_);
    set_period(fn());
  }
  void stop();  // Waits for a look, and for what it returned. No look afterwards.

 private:
  void set_period(std::chrono::nanoseconds period) noexcept;
  void run();

  const std::string name_;
  unique_function<afterwards()> look_;  // The thread's.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::chrono::nanoseconds period_{0};  // Guarded by mutex_, as is everything below.
  bool stopping_ = false;
  os_thread thread_;
};

}  // namespace coppice::base
