// SPDX-License-Identifier: Apache-2.0
// Running a coroutine as a test, whatever the test framework.
#pragma once

#include <string>

#include "coppice/clock.hpp"
#include "coppice/task.hpp"
#include "coppice/testkit/fake_clock.hpp"

namespace coppice::testkit {

/// What a test's body sees as `t`.
class test_env {
 public:
  explicit test_env(fake_clock& time) : time_(time), began_(time.now()) {}

  duration elapsed() const noexcept { return time_.now() - began_; }  // Virtual: no test sleeps.
  fake_clock& time() noexcept { return time_; }

 private:
  fake_clock& time_;
  const time_point began_;
};

/// Runs a body on a loop with virtual time that jumps over idle time. Gives why it failed, or "". A
/// deadlock (all tasks wait, no timer) is a failure at once, with the task tree.
std::string run_async_test(const char* name, task<> (*body)(test_env&));

}  // namespace coppice::testkit
