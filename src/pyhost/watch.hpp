// SPDX-License-Identifier: Apache-2.0
// One thread that says when something takes too long, because the thread it happens to cannot.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/thread.hpp"

namespace coppice::py {

/// Timers and last errands of the reapers: a reaper that waits for a GIL cannot look at a clock,
/// and cannot join itself. The thread sleeps without a time-out while nothing is armed.
///
/// Owner: host_core. Thread: any; what is armed runs on `coppice-pywatch` and must not block long:
/// only the end of a guest does, where no thread can be had for it.
class watch {
 public:
  using time_point = std::chrono::steady_clock::time_point;
  using ticket = std::pair<time_point, std::uint64_t>;

  watch();
  watch(const watch&) = delete;
  watch& operator=(const watch&) = delete;
  ~watch();  // Joins; what is armed is dropped. Not on its own thread.

  ticket arm(time_point when, std::function<void()> fire);
  /// May return while `fire` is running.
  void disarm(const ticket& t);

  /// Leaves the thread running for the rest of the process, with `keep_alive` held by it for ever.
  /// For a host that ends while guests are in quarantine. No join in the destructor then.
  void detach_for_good(std::function<void()> keep_alive);

 private:
  void run();

  // tidy: allow lock: this thread stands outside every loop, so that it works when they do not
  std::mutex mutex_;
  // tidy: allow lock: it sleeps on no eventfd, so that a loop that hangs cannot hold it
  std::condition_variable changed_;
  std::map<ticket, std::function<void()>> armed_;  // Guarded by mutex_, like all below.
  time_point sleeping_until_ = time_point::min();
  std::uint64_t next_number_ = 0;
  bool stop_ = false;
  std::function<void()> keep_alive_;
  base::os_thread thread_;
};

}  // namespace coppice::py
