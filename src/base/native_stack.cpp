// SPDX-License-Identifier: Apache-2.0
#include "base/native_stack.hpp"

#include <execinfo.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>

namespace coppice::base {

namespace {

constexpr int frames_max = 64;

// What the handler writes to. Static, so that one that comes late writes nowhere else.
enum class slot_state : int { idle, wanted, writing, written };
std::atomic<slot_state> state{slot_state::idle};
std::atomic<pid_t> wanted_of{0};
void* frames[frames_max];
int frame_count = 0;
void* interrupted_at = nullptr;

std::mutex one_asker;   // Trivially destructible.
int signal_number = 0;  // 0: not chosen yet; -1: none is free.

void* program_counter(void* context) noexcept {
  const auto* c = static_cast<ucontext_t*>(context);
#if defined(__x86_64__)
  return reinterpret_cast<void*>(c->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return reinterpret_cast<void*>(c->uc_mcontext.pc);
#else
  static_cast<void>(c);
  return nullptr;
#endif
}

void on_signal(int, siginfo_t* info, void* context) noexcept {
  const int kept_errno = errno;
  const bool ours = info->si_code == SI_TKILL && info->si_pid == ::getpid() &&
                    wanted_of.load() == static_cast<pid_t>(::syscall(SYS_gettid));
  auto expected = slot_state::wanted;
  if (ours && state.compare_exchange_strong(expected, slot_state::writing)) {
    interrupted_at = program_counter(context);
    frame_count = ::backtrace(frames, frames_max);
    state.store(slot_state::written);
  }
  errno = kept_errno;
}

// Guests' signals are chosen from below (pyhost/signals_rt.cpp).
int choose_signal() {
  void* one[1];
  ::backtrace(one, 1);  // Loads libgcc, which a handler must not.
  for (int number = SIGRTMAX; number >= SIGRTMIN; --number) {
    struct sigaction now{};
    if (::sigaction(number, nullptr, &now) != 0) continue;
    if ((now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_DFL) continue;
    struct sigaction ours{};
    ours.sa_sigaction = &on_signal;
    ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    ::sigfillset(&ours.sa_mask);
    if (::sigaction(number, &ours, nullptr) == 0) return number;
  }
  return -1;
}

bool wait_written(std::chrono::milliseconds bound) {
  const auto until = std::chrono::steady_clock::now() + bound;
  while (state.load() != slot_state::written) {
    if (std::chrono::steady_clock::now() >= until) {
      auto expected = slot_state::wanted;
      if (state.compare_exchange_strong(expected, slot_state::idle)) return false;
      // It is being written: a matter of microseconds, unless the thread is not scheduled. Then
      // nobody is served before it has ended: see `writing` below.
      if (expected == slot_state::writing &&
          std::chrono::steady_clock::now() >= until + std::chrono::seconds(1))
        return false;
    }
    const timespec pause{0, 200'000};
    ::nanosleep(&pause, nullptr);
  }
  return true;
}

}  // namespace

std::vector<const void*> stack_of(pid_t tid, std::chrono::milliseconds bound) {
  const std::lock_guard lock(one_asker);
  if (signal_number == 0) signal_number = choose_signal();
  if (signal_number < 0 || state.load() == slot_state::writing) return {};
  wanted_of.store(tid);
  state.store(slot_state::wanted);
  if (::syscall(SYS_tgkill, ::getpid(), tid, signal_number) != 0) {
    state.store(slot_state::idle);
    return {};
  }
  if (!wait_written(bound)) return {};
  // The handler's own frames and the kernel's trampoline come first.
  void** const end = frames + frame_count;
  void** const begin = std::find(frames, end, interrupted_at);
  std::vector<const void*> found(begin == end ? frames : begin, end);
  state.store(slot_state::idle);
  return found;
}

}  // namespace coppice::base
