// SPDX-License-Identifier: Apache-2.0
#include "pyhost/signals_rt.hpp"

#include <limits.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "coppice/errors.hpp"

namespace coppice::py {
namespace {

void on_kick(int) {}

void on_leave(int, siginfo_t* info, void*) {
  // SI_QUEUE with our pid: sent by order(), not by kill(1).
  if (info->si_code != SI_QUEUE || info->si_pid != ::getpid() || !info->si_value.sival_ptr) return;
  const auto* order = static_cast<const leave_order*>(info->si_value.sival_ptr);
  if (order->base) siglongjmp(*order->base, 1);
  // Thread-specific values are forgotten without their destructors, which are code of others that
  // does not expect this. Forgotten they must be: glibc gives the stack, and these slots with it,
  // to a new thread, which would take CPython's dead thread state for its own.
  for (unsigned key = 0; key < PTHREAD_KEYS_MAX; ++key) ::pthread_setspecific(key, nullptr);
  ::syscall(SYS_exit, 0);  // Only this thread; nothing on its stack runs again.
}

bool is_default(int signal) {
  struct sigaction present{};
  return ::sigaction(signal, nullptr, &present) == 0 && !(present.sa_flags & SA_SIGINFO) &&
         present.sa_handler == SIG_DFL;
}

}  // namespace

signals_rt::signals_rt() {
  // From the middle outward: libraries that take fixed numbers take the ends.
  for (int signal = SIGRTMIN + 5; signal <= SIGRTMAX && !leave_; ++signal) {
    if (!is_default(signal)) continue;
    struct sigaction action{};
    ::sigfillset(&action.sa_mask);
    if (!kick_) {
      action.sa_handler = on_kick;  // No SA_RESTART: that is the whole point.
    } else {
      action.sa_sigaction = on_leave;
      action.sa_flags = SA_SIGINFO;
    }
    if (::sigaction(signal, &action, nullptr) != 0) continue;
    (kick_ ? leave_ : kick_) = signal;
  }
  if (!leave_) {
    if (kick_) ::signal(kick_, SIG_DFL);
    throw backend_unavailable(
        "no guests in this process: fewer than two real-time signals between SIGRTMIN+5 and "
        "SIGRTMAX "
        "are at their default; free two, or choose start_method='process'");
  }
}

signals_rt::~signals_rt() {
  if (keep_) return;
  ::signal(kick_, SIG_DFL);
  ::signal(leave_, SIG_DFL);
}

void signals_rt::open_here() const noexcept {
  sigset_t both;
  ::sigemptyset(&both);
  ::sigaddset(&both, kick_);
  ::sigaddset(&both, leave_);
  ::pthread_sigmask(SIG_UNBLOCK, &both, nullptr);
}

bool signals_rt::send_kick(pid_t tid) const noexcept {
  return ::syscall(SYS_tgkill, ::getpid(), tid, kick_) == 0;
}

bool signals_rt::order(pid_t tid, const leave_order& order) const noexcept {
  siginfo_t info;
  std::memset(&info, 0, sizeof info);
  info.si_signo = leave_;
  info.si_code = SI_QUEUE;
  info.si_pid = ::getpid();
  info.si_uid = ::getuid();
  info.si_value.sival_ptr = const_cast<leave_order*>(&order);
  return ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), tid, leave_, &info) == 0;
}

}  // namespace coppice::py
