// SPDX-License-Identifier: Apache-2.0
// What other threads may know of a loop without asking it: whether it moves, and who has it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "coppice/clock.hpp"
#include "coppice/detail/task_node.hpp"
#include "core/inbox.hpp"

namespace coppice::core {

/// A loop's signs of life. The loop writes them with plain stores, two per turn and two per task
/// that it resumes, none of which waits for anybody; others read them without stopping it.
///
/// # Why not a name in the loop that the stalled task is read from?
/// The task may end while it is being read, and its name with it. A reader announces itself, makes
/// every core pass a barrier (membarrier(2)), and looks again: then the loop either sees the reader
/// before it ends the task, and waits for the microsecond that a copy takes, or the reader sees
/// that the task has returned. So the loop pays no barrier for readers that are not there.
///
/// Owner: shared by the loop, its views and the process's stall watch, which outlive it.
/// Thread: the first group the loop's, the others any.
class loop_pulse {
 public:
  enum class phase : std::uint8_t { not_running, awake, asleep };

  loop_pulse(std::string name, std::shared_ptr<inbox> in, bool real_time)
      : name_(std::move(name)), inbox_(std::move(in)), real_time_(real_time) {}
  loop_pulse(const loop_pulse&) = delete;
  loop_pulse& operator=(const loop_pulse&) = delete;

  void run_begins() noexcept;
  void run_ends() noexcept { phase_.store(phase::not_running, std::memory_order_relaxed); }
  std::uint64_t turn_begins() noexcept {
    const std::uint64_t turn = turn_.load(std::memory_order_relaxed) + 1;
    turn_.store(turn, std::memory_order_relaxed);
    return turn;
  }
  void turn_began_at(time_point t) noexcept {
    turn_began_.store(t.time_since_epoch().count(), std::memory_order_relaxed);
  }
  void falls_asleep() noexcept { phase_.store(phase::asleep, std::memory_order_relaxed); }
  void wakes_up() noexcept { phase_.store(phase::awake, std::memory_order_relaxed); }
  void resumes(detail::task_node& task) noexcept {
    // The first word of a coroutine's frame is the function that resumes it, on g++ and clang.
    function_.store(*static_cast<void* const*>(task.resume_at.address()),
                    std::memory_order_relaxed);
    running_.store(&task, std::memory_order_release);
  }
  /// Null: between two batches of tasks, and after one that has ended.
  detail::task_node* running() const noexcept { return running_.load(std::memory_order_relaxed); }
  void batch_ends() noexcept { running_.store(nullptr, std::memory_order_relaxed); }
  /// The task that has the loop is about to be destroyed.
  void task_ends() noexcept {
    running_.store(nullptr, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (readers_.load(std::memory_order_acquire) != 0) [[unlikely]]
      wait_for_readers();
  }

  /// How long turns are, for benchmarks: off unless asked for, and then from zero.
  struct turn_lengths {
    duration wall{};  // Of one turn, without the sleep at its end and what I/O calls there.
    duration cpu{};   // Of the thread, from turn to turn: with what I/O calls.
  };
  void measure_turns() noexcept;
  turn_lengths longest_turns() const noexcept;
  bool measures_turns() const noexcept { return measures_.load(std::memory_order_relaxed); }
  void turn_is_measured() noexcept;  // It begins,
  void turn_is_over() noexcept;      // it is about to sleep, or to go on with the next.

  /// A moment of the loop. Two that are equal, and not asleep, span the time between them: a task
  /// is resumed at most once in a turn.
  struct beat {
    std::uint64_t turn = 0;
    const void* task = nullptr;  // Null: no task; a posted function, a hook, I/O.
    phase in = phase::not_running;
    bool operator==(const beat&) const = default;
  };
  beat now() const noexcept;

  /// The task that has the loop, if it is still the moment `of`.
  struct holder {
    std::string name;                // Empty: it has none, or no task has the loop.
    const void* function = nullptr;  // Of the coroutine in which it was resumed.
    bool is_task = false;
  };
  holder who(const beat& of) noexcept;

  /// About when the present turn began; max() if the loop runs on a virtual clock.
  time_point turn_began() const noexcept;

  pid_t tid() const noexcept { return tid_.load(); }  // Of the run under way, or of the last.
  const std::string& name() const noexcept { return name_; }
  inbox& in() const noexcept { return *inbox_; }

 private:
  void wait_for_readers() const noexcept;

  const std::string name_;
  const std::shared_ptr<inbox> inbox_;  // Shared: views post to loops that may have ended.
  const bool real_time_;
  std::atomic<std::uint64_t> turn_{0};
  std::atomic<detail::task_node*> running_{nullptr};
  std::atomic<const void*> function_{nullptr};
  std::atomic<duration::rep> turn_began_{0};
  std::atomic<int> readers_{0};
  std::atomic<phase> phase_{phase::not_running};
  std::atomic<pid_t> tid_{0};
  std::atomic<bool> measures_{false};
  std::atomic<duration::rep> wall_max_{0};
  std::atomic<duration::rep> cpu_max_{0};
  duration began_{}, cpu_began_{};  // Of the turn that is measured; zero: none. The loop's.
};

/// Says in words who has a loop: "'name'", a coroutine's function, or that it is no task.
std::string to_text(const loop_pulse::holder& who);

}  // namespace coppice::core
