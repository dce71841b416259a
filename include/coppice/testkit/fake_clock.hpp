// SPDX-License-Identifier: Apache-2.0
// Time that a test owns.
#pragma once

#include <atomic>
#include <functional>

#include "coppice/clock.hpp"

namespace coppice::testkit {

struct fake_clock_options {
  bool autojump = false;  // When every task waits, jump to the next deadline.
};

/// A clock that moves when told, or jumps over idle time by itself.
///
/// Promises: now() changes only by advance() and jumps; a jump goes to the soonest timer, never
/// past it; if there is no timer either, the loop is deadlocked: on_deadlock() is called, and
/// without one the process aborts with the task tree.
///
///     fake_clock time({.autojump = true});
///     core::loop loop({.time = &time});
///
/// Owner: the test; outlives the loops that use it. Thread: now() any, the rest the loop's.
class fake_clock final : public clock {
 public:
  explicit fake_clock(fake_clock_options options = {}) : autojump_(options.autojump) {}

  time_point now() const noexcept override { return time_point(duration(now_.load())); }
  void advance(duration d) noexcept;  // REQUIRES: not negative.
  bool skip_to(time_point next) noexcept override;

  void on_deadlock(std::function<void()> what_to_do) { on_deadlock_ = std::move(what_to_do); }

 private:
  const bool autojump_;
  std::atomic<duration::rep> now_{
      1'000'000'000'000};  // Not zero: a forgotten time_point{} is past.
  std::function<void()> on_deadlock_;
};

}  // namespace coppice::testkit
