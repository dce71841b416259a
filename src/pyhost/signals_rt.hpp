// SPDX-License-Identifier: Apache-2.0
// The two signals that reach into a guest's threads: kick (a blocked call returns) and leave.
#pragma once

#include <sys/types.h>
#include <csetjmp>
#include <csignal>

namespace coppice::py {

/// Where a thread of ours leaves to: the frame of its first function.
struct leave_order {
  sigjmp_buf* base = nullptr;  // Null: the thread ends where it stands, by a raw SYS_exit.
};

/// Two real-time signals, chosen among those that are still at SIG_DFL when this object is made, so
/// that nobody's handler is taken away.
///
/// *Kick* does nothing, but has no SA_RESTART: a blocked system call returns EINTR. *Leave* carries
/// a pointer to a leave_order; a leave signal that does not come from order() is ignored, so `kill`
/// from outside cannot end a thread.
///
/// The destructor gives both back (SIG_DFL). REQUIRES then: no thread is left that may be kicked.
/// If guests are in quarantine, call keep() instead: a late kick at SIG_DFL would end the process.
///
/// Owner: guest_host. Thread: any.
class signals_rt {
 public:
  signals_rt();  // Throws backend_unavailable if fewer than two real-time signals are free.
  signals_rt(const signals_rt&) = delete;
  signals_rt& operator=(const signals_rt&) = delete;
  ~signals_rt();

  int kick() const noexcept { return kick_; }
  int leave() const noexcept { return leave_; }
  void keep() noexcept { keep_ = true; }

  /// Opens both in the mask of the calling thread: its creator may have blocked everything.
  void open_here() const noexcept;

  /// False: there is no such thread (any more).
  bool send_kick(pid_t tid) const noexcept;

  /// REQUIRES: the thread sits in CPython's hang loop (it will never run code again), and `order`
  /// stays valid until it has left.
  bool order(pid_t tid, const leave_order& order) const noexcept;

 private:
  int kick_ = 0;
  int leave_ = 0;
  bool keep_ = false;
};

}  // namespace coppice::py
