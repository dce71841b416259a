// SPDX-License-Identifier: Apache-2.0
// Time as a parameter: every deadline and sleep goes through a clock that tests can own.
#pragma once

#include <chrono>

namespace coppice {

using duration = std::chrono::nanoseconds;
using time_point = std::chrono::time_point<std::chrono::steady_clock, duration>;

/// Tells the time of one loop. Monotonic: unaffected by changes of the wall clock.
///
/// Owner: whoever made the loop; it outlives the loop. Thread: now() may be called from any.
class clock {
 public:
  virtual ~clock() = default;
  virtual time_point now() const noexcept = 0;

  /// Called by a loop that has nothing ready and would sleep until `next` (time_point::max(): no
  /// timer at all). A virtual clock jumps and returns true: the loop then looks again instead of
  /// sleeping. The system's clock returns false. Loop thread only.
  virtual bool skip_to(time_point next) noexcept = 0;

 protected:
  clock() = default;
  clock(const clock&) = default;
  clock& operator=(const clock&) = default;
};

/// CLOCK_MONOTONIC. One for the process; it has no state.
clock& system_clock() noexcept;

}  // namespace coppice
