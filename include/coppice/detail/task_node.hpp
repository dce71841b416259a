// SPDX-License-Identifier: Apache-2.0
// What the scheduler knows of a task: where it goes on, what it waits for, what cancels it.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "coppice/clock.hpp"
#include "coppice/detail/list.hpp"
#include "coppice/fwd.hpp"

namespace coppice::detail {

class scheduler;
class task_node;
class holding;
struct in_scope;    // Tag: the tasks whose innermost scope this is.
struct in_nursery;  // Tag: the tasks that a nursery waits for.
struct of_task;     // Tag: the nurseries that a task has open.
struct of_holder;   // Tag: the locks and tokens that a task has.
struct in_walk;     // Tag: the walks over a loop's tasks that are under way.

/// Where a walk over all tasks of a loop goes on, while the loop runs in between. Whatever takes a
/// task from its place moves the cursors that stand there.
struct tree_cursor : list_link<in_walk> {
  task_node* next = nullptr;  // Null: the walk is at its end.
};

/// One suspended await of one task. Lives in the awaiting coroutine's frame.
///
/// Exactly one of two things ends a wait: whoever it waits for calls wake(), or a cancellation
/// calls abort(). Movable only before it is awaited, so that a function can take one and await it
/// later.
class wait_op {
 public:
  /// A cancellation reached the waiting task. True: unlinked from whatever it waited for, the task
  /// is woken with `cancelled`. False: the operation cannot stop at once and calls wake() itself
  /// later.
  virtual bool abort() noexcept = 0;

  /// "event 'ready'": what a dump says after "waits for".
  virtual std::string describe() const = 0;

  static constexpr bool shielded = false;  // True: awaiting it is not a cancellation point.

 protected:
  wait_op() = default;
  wait_op(wait_op&&) noexcept {}
  wait_op& operator=(wait_op&&) = delete;
  ~wait_op() = default;

  task_node& waiter() const noexcept { return *waiter_; }
  void wake() noexcept;  // The wait is over: the waiter is made ready.

 private:
  template <class Op>
  friend class op_awaiter;
  task_node* waiter_ = nullptr;
};

/// A point in the loop's time at which fire() is called, once, on the loop's thread.
class timer {
 public:
  timer() = default;
  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;
  virtual void fire() noexcept = 0;
  bool armed() const noexcept { return index != npos; }

  static constexpr std::size_t npos = std::numeric_limits<std::size_t>::max();
  std::size_t index = npos;  // Position in the heap; the heap's business.

 protected:
  ~timer() = default;  // REQUIRES: not armed. Owners disarm, because only they know the scheduler.
};

/// The part of a loop that awaiting code touches, inline because every hop passes through it.
///
/// Owner: core::loop, which derives from it. Thread: the loop's.
class scheduler {
 public:
  scheduler(const scheduler&) = delete;
  scheduler& operator=(const scheduler&) = delete;

  void make_ready(task_node& task) noexcept;

  /// Counts control passing straight from one coroutine to another; true every few hundred times:
  /// go through the ready queue then. Without optimisation such a transfer is a real call, and a
  /// long chain of them overflows the stack.
  bool must_bounce() noexcept { return ++transfers_ >= transfers_max; }

  coppice::clock& time() const noexcept { return *clock_; }
  time_point now() const noexcept { return clock_->now(); }

  void arm(timer& t, time_point when);  // Arms or re-arms. May throw std::bad_alloc.
  void disarm(timer& t) noexcept;       // Nothing if it is not armed.

  /// Aborts unless called on the thread that runs this loop.
  void check_thread(const char* what) const noexcept;

  /// About when the present turn began, for "waits since": looked up once per turn, once in several
  /// where no timer is armed. A look at the clock per wait would double the price of a short one.
  time_point turn_began() const noexcept { return turn_began_; }

  std::uint64_t new_task_id() noexcept { return ++task_ids_; }

  /// `task` leaves its place in the tree: it ends, or another nursery takes it over.
  void leaves_place(task_node& task) noexcept {
    if (!walks_.empty()) [[unlikely]]
      move_cursors(task);
  }

 protected:
  static constexpr unsigned transfers_max = 256;

  explicit scheduler(coppice::clock& time) : clock_(&time) {}
  ~scheduler() = default;

  coppice::clock* clock_;
  task_node* ready_first_ = nullptr;
  task_node* ready_last_ = nullptr;
  unsigned transfers_ = 0;
  std::uint64_t task_ids_ = 0;
  time_point turn_began_{};
  list<tree_cursor, in_walk> walks_;

 private:
  void move_cursors(task_node& task) noexcept;
};

enum class task_state : std::uint8_t { ready, running, parked, done };

/// One task: a stack of coroutines of which the innermost runs, is ready, or waits for one thing.
///
/// Owner: the nursery that started it, or core::loop::run() for the root. Thread: its loop's.
class task_node : public list_link<in_scope>, public list_link<in_nursery> {
 public:
  task_node(scheduler& s, std::string called)
      : loop(s), name(std::move(called)), id(s.new_task_id()) {}
  task_node(const task_node&) = delete;
  task_node& operator=(const task_node&) = delete;

  /// Its outermost coroutine is done; called outside of it. The task may end itself in here.
  virtual void finished() noexcept = 0;

  void park(wait_op& op) noexcept {
    waits_for = &op;
    waits_since = loop.turn_began();
    asked_to_stop = false;
    state = task_state::parked;
  }
  void wake() noexcept {
    check(state == task_state::parked, "a task was woken that does not wait");
    loop.check_thread("what wakes a task");
    waits_for = nullptr;
    loop.make_ready(*this);
  }
  void cancel_wait() noexcept;  // A cancellation reached it: ends the wait if it is in one.

  bool cancel_visible() const noexcept;  // Would a checkpoint throw now?
  [[noreturn]] void throw_cancelled() const;

  void enter(cancel_scope& s) noexcept;  // Makes `s` its innermost scope.
  void leave(cancel_scope& s) noexcept;  // REQUIRES: `s` is its innermost scope.

  scheduler& loop;
  task_node* next_ready = nullptr;
  std::coroutine_handle<> resume_at;
  wait_op* waits_for = nullptr;  // Not null exactly while parked.
  cancel_scope* scope = nullptr;
  nursery* owner = nullptr;  // Null: a root.
  list<nursery, of_task> nurseries;
  list<holding, of_holder> holds;
  std::string name;          // Empty: not named; a dump prints where it would go on.
  const std::uint64_t id;    // Counts the tasks of its loop, from 1.
  time_point waits_since{};  // While parked: about when that began, see scheduler::turn_began().
  task_state state = task_state::ready;
  bool woken_by_cancel = false;
  bool asked_to_stop = false;  // abort() was called for this wait: once is enough.

 protected:
  ~task_node();
};

inline void scheduler::make_ready(task_node& task) noexcept {
  task.state = task_state::ready;
  task.next_ready = nullptr;
  (ready_last_ != nullptr ? ready_last_->next_ready : ready_first_) = &task;
  ready_last_ = &task;
}

inline void wait_op::wake() noexcept { waiter_->wake(); }

}  // namespace coppice::detail
