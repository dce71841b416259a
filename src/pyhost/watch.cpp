// SPDX-License-Identifier: Apache-2.0
#include "pyhost/watch.hpp"

namespace coppice::py {

watch::watch() : thread_("coppice-pywatch", [this] { run(); }) {}

watch::~watch() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

watch::ticket watch::arm(time_point when, std::function<void()> fire) {
  std::lock_guard lock(mutex_);
  const ticket t(when, next_number_++);
  armed_.emplace(t, std::move(fire));
  // A later one than the thread sleeps for needs no wake-up, which is what most arms are.
  if (when < sleeping_until_) changed_.notify_all();
  return t;
}

void watch::disarm(const ticket& t) {
  std::function<void()>
      dropped;  // Destroyed outside the lock: it may hold the last reference to a guest.
  std::lock_guard lock(mutex_);
  if (auto it = armed_.find(t); it != armed_.end()) {
    dropped = std::move(it->second);
    armed_.erase(it);
  }
}

void watch::detach_for_good(std::function<void()> keep_alive) {
  std::lock_guard lock(mutex_);
  keep_alive_ = std::move(keep_alive);
  thread_.abandon();
}

void watch::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (armed_.empty()) {
      sleeping_until_ = time_point::max();
      changed_.wait(lock);
      continue;
    }
    const auto first = armed_.begin();
    if (first->first.first > std::chrono::steady_clock::now()) {
      sleeping_until_ = first->first.first;
      changed_.wait_until(lock, sleeping_until_);
      continue;
    }
    sleeping_until_ = time_point::min();  // Awake: it will look at the map again before it sleeps.
    std::function<void()> fire = std::move(first->second);
    armed_.erase(first);
    lock.unlock();
    fire();
    fire = nullptr;
    lock.lock();
  }
}

}  // namespace coppice::py
