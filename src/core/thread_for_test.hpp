// SPDX-License-Identifier: Apache-2.0
// What tests of to_thread() share: work that blocks until it is let go.
#pragma once

#include <atomic>
#include <memory>

#include "base/threads_for_test.hpp"

namespace coppice {

using base::threads_of_this_process;
using base::wait_until;

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
