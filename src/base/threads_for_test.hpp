// SPDX-License-Identifier: Apache-2.0
// What tests of threads share: counting them, and waiting for what they do.
#pragma once

#include <sched.h>

#include <cstddef>
#include <filesystem>
#include <string>

#include "base/sanitizers.hpp"
#include "base/thread.hpp"

namespace coppice::base {

/// Until it is so, which it must become by itself. A hang is ended by ctest.
template <class So>
void wait_until(So so) {
  while (!so()) ::sched_yield();
}

/// How many threads this process has.
inline std::ptrdiff_t threads_of_this_process() {
  // Thread sanitizer makes one of its own beside the first: let that be before the first count. A
  // joined thread leaves /proc a moment after the join.
  static const bool settled = [] {
    if (!under_thread_sanitizer) return true;
    os_thread first("first", [] {});
    const std::string at = "/proc/self/task/" + std::to_string(first.tid());
    first.join();
    wait_until([&] { return !std::filesystem::exists(at); });
    return true;
  }();
  (void)settled;
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

}  // namespace coppice::base
