// SPDX-License-Identifier: Apache-2.0
#include "spawn/process/spawner.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "base/assert.hpp"

namespace coppice::spawn {

namespace {

/// Shared with the child, which runs in our memory until it execs or exits.
struct child_arguments {
  const char* path;
  char* const* argv;
  char* const* envp;
  const char* cwd;
  int inherit;
  bool deaf_to_sigint;
  pid_t parent;
  int error = 0;
  const char* step = "";
};

// Runs in the child, in the parent's memory: async-signal-safe calls only, nothing may be
// allocated.
int child_main(void* p) noexcept {
  auto* a = static_cast<child_arguments*>(p);
  const auto fail = [&](const char* step) {
    a->error = errno;
    a->step = step;
    ::_exit(127);
  };
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != a->parent) ::_exit(127);  // It died before prctl: nobody is left to tell.
  // Our handlers are functions of the parent's program; exec would reset them, but a signal may
  // come before that. Ignored ones stay ignored across exec, and children must not inherit that.
  struct sigaction fallback{};
  fallback.sa_handler = SIG_DFL;
  for (int s = 1; s < _NSIG; ++s)
    if (s != SIGKILL && s != SIGSTOP) ::sigaction(s, &fallback, nullptr);
  if (a->deaf_to_sigint) ::signal(SIGINT, SIG_IGN);
  if (a->inherit >= 0) {
    if (a->inherit == 3 ? ::fcntl(3, F_SETFD, 0) != 0 : ::dup2(a->inherit, 3) != 3) fail("dup2");
  }
  ::syscall(SYS_close_range, a->inherit >= 0 ? 4u : 3u, ~0u, 0u);
  if (a->cwd && ::chdir(a->cwd) != 0) fail("chdir");
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(a->path, a->argv, a->envp);
  fail("execve");
  return 127;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const auto& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

started_process start_now(const command& c) {
  started_process result;
  auto argv = pointers(c.argv);
  auto envp = pointers(c.environment);
  child_arguments arguments{
      argv[0],   argv.data(),      envp.data(), c.cwd.empty() ? nullptr : c.cwd.c_str(),
      c.inherit, c.deaf_to_sigint, ::getpid()};
  constexpr std::size_t stack_bytes = 256 * 1024;
  void* stack = ::mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) {
    result.error = errno;
    result.step = "mmap";
    return result;
  }
  // No handler may run in the child while it shares our memory.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int pidfd = -1;
  const pid_t pid = ::clone(child_main, static_cast<char*>(stack) + stack_bytes,
                            CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &arguments, &pidfd);
  const int clone_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::munmap(stack, stack_bytes);
  if (pid < 0) {
    result.error = clone_error;
    result.step = "clone";
    return result;
  }
  base::unique_fd owned(pidfd);
  if (arguments.error != 0) {  // It is ours to reap: nobody else has heard of it.
    siginfo_t info{};
    ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED);
    result.error = arguments.error;
    result.step = arguments.step;
    return result;
  }
  result.pid = pid;
  result.pidfd = std::move(owned);
  return result;
}

}  // namespace

void spawner::start(command c, base::unique_function<void(started_process)> done) {
  COPPICE_ASSERT(!c.argv.empty(), "a process needs a program");
  thread_.post([c = std::move(c), done = std::move(done)]() mutable { done(start_now(c)); });
}

}  // namespace coppice::spawn
