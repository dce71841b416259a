// SPDX-License-Identifier: Apache-2.0
#include "pyhost/children.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#ifndef P_PIDFD
#define P_PIDFD 3  // glibc before 2.36
#endif

namespace coppice::py {
namespace {

enum class fate { running, exited, not_ours };

// Looks, or waits for good with `reap`. Never blocks.
fate look(pid_t pid, int pidfd, bool reap) noexcept {
  siginfo_t info{};
  const int flags = WEXITED | WNOHANG | (reap ? 0 : WNOWAIT);
  const auto kind = static_cast<idtype_t>(pidfd >= 0 ? P_PIDFD : P_PID);
  const auto id = static_cast<id_t>(pidfd >= 0 ? pidfd : pid);
  if (::waitid(kind, id, &info, flags) != 0) return fate::not_ours;  // ECHILD: somebody reaped it.
  return info.si_pid == 0 ? fate::running : fate::exited;
}

void kill_child(pid_t pid, int pidfd) noexcept {
  if (pidfd >= 0) {
    ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
  } else {
    ::kill(pid,
           SIGKILL);  // Only after look(): it is our child and unreaped, so the number is its own.
  }
}

}  // namespace

void child_processes::record(pid_t pid) noexcept try {
  base::unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));  // Close-on-exec.
  std::lock_guard lock(mutex_);
  if (children_.size() >= 8) drop_reaped();
  children_.push_back({pid, std::move(pidfd)});
} catch (...) {
  // Out of memory: the child is not recorded. The guest has worse problems than that.
}

void child_processes::drop_reaped() {
  // One poll for all: only those that have exited are worth a system call each.
  std::vector<pollfd> polled;
  polled.reserve(children_.size());
  for (const child& c : children_) polled.push_back({c.pidfd.get(), POLLIN, 0});
  ::poll(polled.data(), polled.size(), 0);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < children_.size(); ++i) {
    child& c = children_[i];
    const bool maybe_gone = polled[i].revents != 0 || !c.pidfd;
    if (maybe_gone && look(c.pid, c.pidfd.get(), false) == fate::not_ours) continue;
    if (kept != i) children_[kept] = std::move(c);
    ++kept;
  }
  children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(kept), children_.end());
}

std::size_t child_processes::end(std::chrono::milliseconds bound) noexcept {
  std::lock_guard lock(mutex_);
  std::erase_if(children_, [](const child& c) {
    if (look(c.pid, c.pidfd.get(), false) == fate::not_ours) return true;
    kill_child(c.pid, c.pidfd.get());
    return false;
  });
  const auto until = std::chrono::steady_clock::now() + bound;
  for (;;) {
    std::erase_if(children_,
                  [](const child& c) { return look(c.pid, c.pidfd.get(), true) != fate::running; });
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    if (children_.empty() || left.count() <= 0) return children_.size();
    // A pidfd is readable when its process has exited; without one, look again soon.
    pollfd first{children_.front().pidfd.get(), POLLIN, 0};
    ::poll(&first, 1, first.fd >= 0 ? static_cast<int>(left.count()) : 1);
  }
}

std::size_t child_processes::size() const noexcept {
  std::lock_guard lock(mutex_);
  return children_.size();
}

}  // namespace coppice::py
