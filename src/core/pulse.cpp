// SPDX-License-Identifier: Apache-2.0
#include "core/pulse.hpp"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/symbol.hpp"

namespace coppice::core {

namespace {

bool barrier_everywhere() noexcept {
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0) return true;
  // The first one of a process has to register it.
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0) return false;
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

duration now_by(clockid_t clock) noexcept {
  timespec t{};
  ::clock_gettime(clock, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

void keep_longest(std::atomic<duration::rep>& max, duration to) noexcept {
  if (to.count() > max.load(std::memory_order_relaxed)) max.store(to.count());
}

}  // namespace

void loop_pulse::run_begins() noexcept {
  tid_.store(static_cast<pid_t>(::syscall(SYS_gettid)));
  phase_.store(phase::awake);
}

void loop_pulse::measure_turns() noexcept {
  measures_.store(true);
  wall_max_.store(0);
  cpu_max_.store(0);
}

loop_pulse::turn_lengths loop_pulse::longest_turns() const noexcept {
  return {.wall = duration(wall_max_.load()), .cpu = duration(cpu_max_.load())};
}

// The processor's time goes on from the last turn's beginning: what I/O calls runs in its sleep.
void loop_pulse::turn_is_measured() noexcept {
  const duration cpu = now_by(CLOCK_THREAD_CPUTIME_ID);
  if (cpu_began_ != duration::zero()) keep_longest(cpu_max_, cpu - cpu_began_);
  cpu_began_ = cpu;
  began_ = now_by(CLOCK_MONOTONIC);
}

void loop_pulse::turn_is_over() noexcept {
  if (began_ != duration::zero()) keep_longest(wall_max_, now_by(CLOCK_MONOTONIC) - began_);
}

loop_pulse::beat loop_pulse::now() const noexcept {
  return {.turn = turn_.load(std::memory_order_relaxed),
          .task = running_.load(std::memory_order_relaxed),
          .in = phase_.load(std::memory_order_relaxed)};
}

loop_pulse::holder loop_pulse::who(const beat& of) noexcept {
  holder found;
  if (of.task == nullptr) return found;
  readers_.fetch_add(1);
  if (barrier_everywhere()) {
    const detail::task_node* task = running_.load();
    if (task == of.task && turn_.load(std::memory_order_relaxed) == of.turn) {
      found.name = task->name;
      found.function = function_.load(std::memory_order_acquire);
      found.is_task = true;
      if (running_.load() != task) found = {};  // The function is perhaps the next one's.
    }
  }
  readers_.fetch_sub(1);
  return found;
}

void loop_pulse::wait_for_readers() const noexcept {
  while (readers_.load() != 0) ::sched_yield();
}

time_point loop_pulse::turn_began() const noexcept {
  if (!real_time_) return time_point::max();
  return time_point(duration(turn_began_.load(std::memory_order_relaxed)));
}

std::string to_text(const loop_pulse::holder& who) {
  if (!who.is_task) return "no task, but something that was posted, a hook, or I/O";
  if (!who.name.empty()) return "'" + who.name + "'";
  const std::string function = base::function_at(who.function);
  return function.empty() ? "(not named)" : function;
}

}  // namespace coppice::core
