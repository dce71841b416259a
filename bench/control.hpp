// SPDX-License-Identifier: Apache-2.0
// The longest turns of this process's control loop, which must never do anything long. Of the
// inside: no header of the product tells.
#pragma once

#include <algorithm>
#include <chrono>

#include "actor/process_runtime.hpp"
#include "core/loop.hpp"
#include "core/pulse.hpp"

namespace bench {

struct turns {
  double wall_us = 0;  // Of one turn: tasks, what was posted, timers. Preemption counts.
  double cpu_us = 0;   // From one sleep to the next, handlers of I/O too. Preemption does not.
  void add(const turns& other) {
    wall_us = std::max(wall_us, other.wall_us);
    cpu_us = std::max(cpu_us, other.cpu_us);
  }
};

/// From now on, and from zero. In a root.
inline void measure_turns() {
  coppice::tree::process_runtime::current()->control()->pulse().measure_turns();
}

inline turns longest_turns() {
  using us = std::chrono::duration<double, std::micro>;
  const auto longest =
      coppice::tree::process_runtime::current()->control()->pulse().longest_turns();
  return {us(longest.wall).count(), us(longest.cpu).count()};
}

}  // namespace bench
