// SPDX-License-Identifier: Apache-2.0
// Threads that must come to rest for good before their interpreter can end.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <vector>

#include "pyhost/python.hpp"
#include "pyhost/signals_rt.hpp"

namespace coppice::py {

/// The threads of one guest that are marked, and the steps of getting rid of them:
///
///     inmates.mark_all(interpreter, mine);        // with its GIL
///     while (!inmates.park(…)) …;                 // without any GIL
///     Py_EndInterpreter(…);
///     inmates.leave();
///
/// A parked thread sits in CPython's hang loop: it took the mark for an order when it wanted its
/// GIL back. It will never run code again, so its thread id cannot be given to another thread.
///
/// Owner: the reaper, and its thread only.
class inmates {
 public:
  /// `leave_of_guest`: how the guest's own thread (`guest_tid`) leaves; all others by SYS_exit.
  inmates(const signals_rt& signals, pid_t guest_tid, const leave_order& leave_of_guest)
      : signals_(signals), guest_tid_(guest_tid), guest_leave_(leave_of_guest) {}

  /// Marks every thread state of `interpreter` but `mine`, and but those of the guest's own thread
  /// with spare_guest(true). May be called again. REQUIRES its GIL, held by `mine`.
  void mark_all(PyInterpreterState* interpreter, PyThreadState* mine);
  void spare_guest(bool spare) noexcept { guest_spared_ = spare; }

  /// Kicks until all are parked or gone. False: not within the bound; call again. No GIL held.
  bool park(std::chrono::milliseconds bound);

  /// Ends the OS threads. REQUIRES park() was true. The guest's own is on its way out afterwards
  /// (its owner joins it), the others are gone, unless one took longer than 1 s to die.
  void leave();

  bool empty() const noexcept { return list_.empty(); }

 private:
  struct inmate {
    pid_t tid;
    pthread_t handle;
    bool joinable;  // Started by `threading`, whose handle nobody else can join or detach any more.
    bool parked = false;
    bool gone = false;
  };
  void add(PyThreadState* ts);

  const signals_rt& signals_;
  const pid_t guest_tid_;
  const leave_order& guest_leave_;
  bool guest_spared_ = false;
  std::vector<inmate> list_;
};

}  // namespace coppice::py
