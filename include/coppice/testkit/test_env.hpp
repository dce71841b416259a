// SPDX-License-Identifier: Apache-2.0
// Running a coroutine as a test, whatever the test framework.
#pragma once

#include <cstdint>
#include <optional>
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
///
/// With a seed, tasks that are ready at the same time run in an order that the seed decides; a test
/// that fails then does so again with the same seed. Without one: in the order of becoming ready.
std::string run_async_test(const char* name, task<> (*body)(test_env&),
                           std::optional<std::uint64_t> order_seed = {});

/// The one that every COPPICE_TEST of this process runs with: COPPICE_ORDER_SEED of the
/// environment. Throws std::invalid_argument if that is not a number.
std::optional<std::uint64_t> order_seed_of_environment();

}  // namespace coppice::testkit
