// SPDX-License-Identifier: Apache-2.0
// Whose child a process is, since when it is there, and whether it still is.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>

namespace coppice::base {

struct process_stat {
  pid_t parent = 0;
  bool is_zombie = false;           // It has ended, and nobody has asked how.
  std::uint64_t started_ticks = 0;  // Since boot; sysconf(_SC_CLK_TCK) of them are a second.
};

/// What /proc says of the process that has this pid now; nothing if there is none.
std::optional<process_stat> stat_of(pid_t pid);

/// When it started, by today's setting of the clock, to about a tick.
std::chrono::system_clock::time_point started_at(const process_stat& of);

}  // namespace coppice::base
