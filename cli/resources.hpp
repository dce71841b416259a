// SPDX-License-Identifier: Apache-2.0
// What this process holds right now: threads, interpreters, child processes, descriptors.
#pragma once

#include <cstddef>

namespace coppice::cli {

struct resources {
  std::size_t threads = 0;
  std::size_t interpreters = 0;  // Sub-interpreters; the main one is not counted.
  std::size_t processes = 0;     // Children, zombies included.
  std::size_t fds = 0;
  friend bool operator==(const resources&, const resources&) = default;
};

/// Reads /proc. A thread or process that is just ending may still be listed: see settle().
resources count_resources();

/// Counts until nothing is above `goal`, for at most half a second: the kernel removes a joined
/// thread or a closed connection a moment after we are told.
resources settle(const resources& goal);

}  // namespace coppice::cli
