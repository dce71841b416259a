// SPDX-License-Identifier: Apache-2.0
// What tests of to_thread() share: work that blocks until it is let go, and counting threads.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <memory>

namespace coppice {

inline std::ptrdiff_t threads_of_this_process() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

/// Until it is so, which it must become by itself. A hang is ended by ctest.
template <class So>
void wait_until(So so) {
  while (!so()) ::sched_yield();
}

/// What a test and a thread tell each other. Shared: abandoned work may outlive the test's frame.
struct gate {
  std::atomic<bool> entered{false};
  std::atomic<bool> open{false};
  std::atomic<int> ended{0};  // Objects of `counted`.

  void enter() {
    entered = true;
    entered.notify_all();
    open.wait(false);
  }
  void let_go() {
    open = true;
    open.notify_all();
  }
};
using gate_ptr = std::shared_ptr<gate>;

inline void pass(const gate_ptr& g) { g->enter(); }

}  // namespace coppice
