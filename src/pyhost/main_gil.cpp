// SPDX-License-Identifier: Apache-2.0
#include "pyhost/main_gil.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <ctime>

#include "pyhost/python.hpp"

namespace coppice::py {

namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds aside_max{20};

// Of the process: there is one main interpreter. Trivially destructible, for a pending call may be
// run by the interpreter's end.
constinit std::atomic<int> wishes{0};  // A futex.
constinit std::atomic<bool> queued{false};

void wait_for_change(int seen, steady_clock::duration bound) noexcept {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(bound).count();
  const timespec limit{0, static_cast<long>(ns)};
  ::syscall(SYS_futex, reinterpret_cast<int*>(&wishes), FUTEX_WAIT_PRIVATE, seen, &limit, nullptr,
            0);
}

// On the main interpreter's main thread, with its GIL.
int stand_aside(void*) {
  queued.store(false);
  if (wishes.load() == 0) return 0;
  PyThreadState* ts = PyEval_SaveThread();
  const auto until = steady_clock::now() + aside_max;
  for (int n = wishes.load(); n != 0; n = wishes.load()) {
    const auto left = until - steady_clock::now();
    if (left <= steady_clock::duration::zero()) break;
    wait_for_change(n, left);
  }
  PyEval_RestoreThread(ts);
  return 0;
}

void ask() noexcept {
  if (queued.exchange(true)) return;
  if (Py_AddPendingCall(stand_aside, nullptr) != 0) queued.store(false);  // The queue is full.
}

void less(int by) noexcept {
  if (by != 0 && wishes.fetch_sub(by) == by)
    ::syscall(SYS_futex, reinterpret_cast<int*>(&wishes), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr,
              nullptr, 0);
}

}  // namespace

void main_gil_wish::begin() noexcept {
  open_.fetch_add(1);
  wishes.fetch_add(1);
  ask();
}

bool main_gil_wish::ask_again() noexcept {
  if (open_.load() == 0) return false;
  ask();
  return true;
}

void main_gil_wish::end() noexcept {
  int n = open_.load();
  while (n > 0 && !open_.compare_exchange_weak(n, n - 1)) {
  }
  if (n > 0) less(1);
}

void main_gil_wish::withdraw() noexcept { less(open_.exchange(0)); }

}  // namespace coppice::py
