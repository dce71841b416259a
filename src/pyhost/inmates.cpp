// SPDX-License-Identifier: Apache-2.0
#include "pyhost/inmates.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "base/fd.hpp"
#include "pyhost/internals.hpp"

namespace coppice::py {
namespace {

using std::chrono::steady_clock;

// /proc/self/task/<tid>/<file>; empty: no such thread, or no such file.
std::string_view read_task_file(pid_t tid, const char* file, char (&buffer)[2048]) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/%s", tid, file);
  const base::unique_fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  const ssize_t n = ::read(fd.get(), buffer, sizeof buffer - 1);
  if (n <= 0) return {};
  buffer[n] = 0;
  return {buffer, static_cast<std::size_t>(n)};
}

// Is the thread blocked in pause(2)? Where there is no such call, glibc's pause() is ppoll(0, 0,
// …).
bool in_pause(std::string_view syscall_line) {
  char* rest = nullptr;
  const long number = std::strtol(syscall_line.data(), &rest, 10);
  if (rest == syscall_line.data()) return false;  // "running"
#ifdef SYS_pause
  return number == SYS_pause;
#else
  return number == SYS_ppoll && std::strncmp(rest, " 0x0 0x0 ", 9) == 0;
#endif
}

// A kick that has not been taken yet: then a pause() that we see may still be the guest's own.
bool kick_pending(std::string_view status, int signal) {
  const auto at = status.find("\nSigPnd:");
  if (at == std::string_view::npos) return false;
  const unsigned long long mask = std::strtoull(status.data() + at + 8, nullptr, 16);
  return (mask >> (signal - 1)) & 1;
}

bool exists(pid_t tid) { return ::syscall(SYS_tgkill, ::getpid(), tid, 0) == 0; }

enum class rest_state { restless, parked, gone };

rest_state state_of(pid_t tid, int kick) {
  char buffer[2048];
  const std::string_view line = read_task_file(tid, "syscall", buffer);
  // Unreadable is not gone: without /proc nobody can be seen to park, and then nobody may be taken
  // for it.
  if (line.empty()) return exists(tid) ? rest_state::restless : rest_state::gone;
  if (!in_pause(line)) return rest_state::restless;
  const std::string_view status = read_task_file(tid, "status", buffer);
  return status.empty() || kick_pending(status, kick) ? rest_state::restless : rest_state::parked;
}

void sleep_for(std::chrono::microseconds t) {
  const timespec ts{static_cast<time_t>(t.count() / 1'000'000),
                    static_cast<long>(t.count() % 1'000'000) * 1000};
  ::nanosleep(&ts, nullptr);
}

constexpr leave_order end_thread{};

}  // namespace

void inmates::add(PyThreadState* ts) {
  const auto tid = static_cast<pid_t>(ts->native_thread_id);
  if (tid == 0) return;
  // It is in a nested one as well, or is parked already. One that was gone may have left its number
  // to another.
  const auto same = [tid](const inmate& i) { return i.tid == tid && !i.gone; };
  if (std::any_of(list_.begin(), list_.end(), same)) return;
  const bool joinable = ts->_whence == whence_threading || ts->_whence == whence_daemon;
  list_.push_back({tid, static_cast<pthread_t>(ts->thread_id), joinable});
}

void inmates::mark_all(PyInterpreterState* interpreter, PyThreadState* mine) {
  std::vector<PyThreadState*> unborn;
  for (PyThreadState* ts = PyInterpreterState_ThreadHead(interpreter); ts;
       ts = PyThreadState_Next(ts)) {
    if (ts == mine) continue;
    if (guest_spared_ && static_cast<pid_t>(ts->native_thread_id) == guest_tid_) continue;
    mark_shutting_down(ts);
    if (ts->native_thread_id == 0) {
      unborn.push_back(ts);
    } else {
      add(ts);
    }
#if PY_VERSION_HEX >= 0x030F0000
    if (ts->_whence == whence_threading)
      ts->_whence = whence_daemon;  // Or its end would be waited for.
#endif
  }
  // A thread that is just being started has no id yet. It looks at the mark first thing and ends by
  // itself, unless it had looked just before we wrote it: then its id appears within microseconds.
  // The thread state stays valid meanwhile: both the interpreter's list and the thread hold it.
  for (int i = 0; i < 20 && !unborn.empty(); ++i) {
    sleep_for(std::chrono::microseconds(500));
    std::erase_if(unborn, [this](PyThreadState* ts) {
      if (__atomic_load_n(&ts->native_thread_id, __ATOMIC_SEQ_CST) == 0) return false;
      add(ts);
      return true;
    });
  }
}

bool inmates::park(std::chrono::milliseconds bound) {
  const auto until = steady_clock::now() + bound;
  std::chrono::microseconds gap(100);
  for (;;) {
    bool all = true;
    for (inmate& i : list_) {
      if (i.parked || i.gone) continue;
      // At least one kick before the first look: the guest may sit in a pause() of its own.
      i.gone = !signals_.send_kick(i.tid);
      all = all && i.gone;
    }
    if (all) return true;
    sleep_for(gap);
    gap = std::min(gap * 2, std::chrono::microseconds(20'000));
    all = true;
    for (inmate& i : list_) {
      if (i.parked || i.gone) continue;
      const rest_state s = state_of(i.tid, signals_.kick());
      i.parked = s == rest_state::parked;
      i.gone = s == rest_state::gone;
      all = all && s != rest_state::restless;
    }
    if (all) return true;
    if (steady_clock::now() >= until) return false;
  }
}

void inmates::leave() {
  for (const inmate& i : list_) {
    // The process's first thread cannot end alone; if it ever lent itself to a guest it stays
    // parked.
    if (!i.parked || i.tid == ::getpid()) continue;
    signals_.order(i.tid, i.tid == guest_tid_ ? guest_leave_ : end_thread);
  }
  const auto until = steady_clock::now() + std::chrono::seconds(1);
  for (const inmate& i : list_) {
    if (!i.parked || i.tid == guest_tid_ || i.tid == ::getpid()) continue;
    std::chrono::microseconds gap(20);
    while (exists(i.tid) && steady_clock::now() < until) {
      sleep_for(gap);
      gap = std::min(gap * 2, std::chrono::microseconds(2000));
    }
    // SYS_exit skipped glibc's own end of the thread; joining gives its stack back. Bounded,
    // because the wait is for a word that the kernel clears at the thread's exit.
    timespec soon{};
    ::clock_gettime(CLOCK_REALTIME, &soon);
    if (i.joinable && !exists(i.tid)) ::pthread_timedjoin_np(i.handle, nullptr, &soon);
  }
}

}  // namespace coppice::py
