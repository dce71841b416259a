// SPDX-License-Identifier: Apache-2.0
#include "base/ticker.hpp"

#include <exception>

namespace coppice::base {

void ticker::set_period(std::chrono::nanoseconds period) noexcept {
  if (period == period_ || stopping_) return;
  try {
    if (!thread_.joinable()) thread_ = os_thread(name_, [this] { run(); });
  } catch (const std::exception&) {
    return;  // Tried again by the next locked().
  }
  period_ = period;
  changed_.notify_one();
}

void ticker::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void ticker::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (period_.count() == 0) {
      changed_.wait(lock);
      continue;
    }
    const auto until = std::chrono::steady_clock::now() + period_;
    const auto period = period_;
    // A change of period begins a new one.
    if (changed_.wait_until(lock, until, [&] { return stopping_ || period_ != period; })) continue;
    auto after = look_();
    lock.unlock();
    if (after) after();
    after = {};
    lock.lock();
  }
}

}  // namespace coppice::base
