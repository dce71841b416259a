// SPDX-License-Identifier: Apache-2.0
#include "pyhost/children.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <sstream>
#include <string>

#include "base/file_text.hpp"
#include "base/process_stat.hpp"

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
  // tidy: allow library-home: not processes of ours, but what guest code started by itself
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

constexpr int tree_depth_max = 64;  // Of a process tree: only so that a wild one costs no stack.

// The descendants of `pid`, parents first. Looked up before anything is killed, because an orphan
// is init's.
void find_descendants(pid_t pid, int depth, std::vector<base::unique_fd>& found) {
  if (depth == tree_depth_max) return;
  std::error_code ignored;
  const std::filesystem::path tasks = "/proc/" + std::to_string(pid) + "/task";
  // Not a range-for: that throws when the process ends meanwhile.
  for (std::filesystem::directory_iterator task(tasks, ignored), end; !ignored && task != end;
       task.increment(ignored)) {
    std::istringstream children(base::file_text(task->path() / "children"));
    for (pid_t child = 0; children >> child;) {
      base::unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
      const auto now_there = base::stat_of(child);
      // Else it is gone, and the number may be a stranger's.
      if (!pidfd || !now_there || now_there->parent != pid) continue;
      found.push_back(std::move(pidfd));
      find_descendants(child, depth + 1, found);
    }
  }
}

// Parents first: a shell that outlives its command by a moment would go on to the next one.
void kill_tree(pid_t pid, int pidfd) noexcept {
  std::vector<base::unique_fd> descendants;
  try {
    find_descendants(pid, 0, descendants);
  } catch (const std::exception&) {
    // Out of memory or fds: those not found are left to init.
  }
  kill_child(pid, pidfd);
  for (const auto& d : descendants) kill_child(0, d.get());
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
    kill_tree(c.pid, c.pidfd.get());
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
