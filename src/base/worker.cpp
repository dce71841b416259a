// SPDX-License-Identifier: Apache-2.0
#include "base/worker.hpp"

#include <utility>

namespace coppice::base {

void worker::post(unique_function<void()> work) {
  std::lock_guard lock(mutex_);
  if (!running_) {
    // One that left meanwhile needs no lock to end; without a thread nothing is queued.
    if (thread_.joinable()) thread_.join();
    thread_ = os_thread(name_, [this] { run(); });
    running_ = true;
  }
  queue_.push_back(std::move(work));
  changed_.notify_one();
}

void worker::stop() {
  os_thread thread;
  {
    std::lock_guard lock(mutex_);
    if (!thread_.joinable()) return;
    stopping_ = running_;
    thread = std::move(thread_);
    changed_.notify_one();
  }
  thread.join();
}

void worker::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) break;
    auto work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    work = {};
    lock.lock();
  }
  running_ = stopping_ = false;  // A post from now on needs another thread.
}

}  // namespace coppice::base
