// SPDX-License-Identifier: Apache-2.0
#include "base/worker.hpp"

#include <utility>

namespace coppice::base {

void worker::post(unique_function<void()> work) {
  std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  if (!thread_.joinable()) thread_ = os_thread(name_, [this] { run(); });
  changed_.notify_one();
}

void worker::stop() {
  os_thread thread;
  {
    std::lock_guard lock(mutex_);
    if (!thread_.joinable()) return;
    stopping_ = true;
    thread = std::move(thread_);
    changed_.notify_one();
  }
  thread.join();
  std::lock_guard lock(mutex_);
  stopping_ = false;
}

void worker::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    auto work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    work = {};
    lock.lock();
  }
}

}  // namespace coppice::base
