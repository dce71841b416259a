// SPDX-License-Identifier: Apache-2.0
#include "pyhost/parking.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "pyhost/guest_side.hpp"

namespace coppice::py {

bool parking::wait(const guest_side& side) noexcept {
  for (;;) {
    // Before the question: a nudge that comes between it and the wait has changed the word.
    const std::uint32_t seen = word_.load();
    if (side.stopping()) return false;
    if (seen & opened) return true;
    PyThreadState* mine = PyEval_SaveThread();
    // Returns on a signal, too: it may be a kick, and only attaching tells what that means.
    ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word_), FUTEX_WAIT_PRIVATE, seen,
              nullptr, nullptr, 0);
    PyEval_RestoreThread(mine);
  }
}

void parking::open() noexcept { change(opened); }
void parking::nudge() noexcept { change(2); }

void parking::change(std::uint32_t by) noexcept {
  word_.fetch_add(by);
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word_), FUTEX_WAKE_PRIVATE, INT_MAX,
            nullptr, nullptr, 0);
}

}  // namespace coppice::py
