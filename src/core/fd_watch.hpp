// SPDX-License-Identifier: Apache-2.0
// Calls back whenever a file descriptor is readable: eventfds, pidfds.
#pragma once

#include <memory>

#include "base/unique_function.hpp"
#include "core/loop.hpp"

namespace coppice::core {

/// Watches a descriptor that somebody else owns. The callback runs on the loop's thread each time
/// that the descriptor is readable; it must make it unreadable (read it), or end the watch, or it
/// is called again at once. It may destroy the watch.
///
/// Owner: any object of that loop; ends before the descriptor does. Thread: the loop's.
class fd_watch {
 public:
  fd_watch(loop& l, int fd, base::unique_function<void()> on_readable);
  ~fd_watch();
  fd_watch(const fd_watch&) = delete;
  fd_watch& operator=(const fd_watch&) = delete;

 private:
  struct state;
  std::shared_ptr<state> state_;  // Shared with the pending wait, which ends after us.
};

}  // namespace coppice::core
