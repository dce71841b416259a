// SPDX-License-Identifier: Apache-2.0
// A thread with one job: it runs what it is given, in order, and may block.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>

#include "base/thread.hpp"
#include "base/unique_function.hpp"

namespace coppice::base {

/// Runs posted work on its own thread, first come first served, one at a time. The thread is made
/// at the first post(). Work that throws ends the process: nobody could be told.
///
/// Owner: one object, which calls stop() or ends; both wait for the work in hand.
/// Thread: post() from any, also during stop(); stop() from the owner.
class worker {
 public:
  explicit worker(std::string name) : name_(std::move(name)) {}
  ~worker() { stop(); }
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  /// Throws std::system_error if there is no thread to be had; `work` is gone then and never runs.
  void post(unique_function<void()> work);
  /// Runs what is still queued, then ends the thread. Later posts start it again.
  void stop();

 private:
  void run();

  const std::string name_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<unique_function<void()>> queue_;  // Guarded by mutex_, as is everything below.
  bool running_ = false;                       // There is a thread that will look at the queue.
  bool stopping_ = false;                      // It is to leave once the queue is empty.
  os_thread thread_;
};

}  // namespace coppice::base
