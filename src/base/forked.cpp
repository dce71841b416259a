// SPDX-License-Identifier: Apache-2.0
#include "base/forked.hpp"

#include <pthread.h>

#include <atomic>

namespace coppice::base {

namespace {
std::atomic<bool> forked{false};
std::atomic<bool> watching{false};
}  // namespace

void watch_for_forks() {
  if (!watching.exchange(true)) ::pthread_atfork(nullptr, nullptr, [] { forked = true; });
}

bool is_forked_copy() noexcept { return forked.load(std::memory_order_relaxed); }

}  // namespace coppice::base
