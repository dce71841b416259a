// SPDX-License-Identifier: Apache-2.0
// The only place where threads are made: each has a name and an owner.
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace coppice::base {

/// A joinable OS thread with a name that `top -H` shows (cut to 15 bytes by the kernel).
///
/// # Why not std::thread?
/// It has no name, no stack size, and no join with a deadline, and a guest's thread leaves by
/// siglongjmp, which std::thread's invoker need not survive.
///
/// Owner: one object. Destroying a running thread without join() or abandon() aborts.
class os_thread {
 public:
  struct options {
    std::size_t stack_bytes = 0;  // 0: the system's default (RLIMIT_STACK)
  };

  os_thread() = default;
  os_thread(std::string_view name, std::function<void()> body)
      : os_thread(name, std::move(body), options{}) {}
  os_thread(std::string_view name, std::function<void()> body, options o);
  os_thread(os_thread&&) noexcept;
  os_thread& operator=(os_thread&&) noexcept;
  ~os_thread();

  bool joinable() const noexcept { return state_ != nullptr; }
  void join();  // Waits without a bound: only for bodies that have one.
  bool join_for(std::chrono::milliseconds bound);  // False: still running, still ours.
  void abandon() noexcept;                         // Detaches: quarantine only.
  pid_t tid() const noexcept;  // Kernel thread id; waits until the thread has begun.
  pthread_t native() const noexcept;

 private:
  struct state;
  std::shared_ptr<state> state_;  // Shared with the thread's first function, which sets the tid.
};

/// Does this thread of this process wait in the kernel, rather than run or want to run? False, if
/// the kernel does not tell.
bool is_blocked(pid_t tid) noexcept;

/// Names the calling thread.
void set_thread_name(std::string_view name) noexcept;

}  // namespace coppice::base
