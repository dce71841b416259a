// SPDX-License-Identifier: Apache-2.0
// The event loop: runs tasks on one thread, wakes them by time, by I/O and by other threads.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/describe.hpp"
#include "base/unique_function.hpp"
#include "base/worker_pool.hpp"
#include "coppice/cancel_scope.hpp"
#include "coppice/clock.hpp"
#include "coppice/introspect.hpp"
#include "coppice/task.hpp"
#include "core/inbox.hpp"
#include "core/pulse.hpp"
#include "core/timer_heap.hpp"

namespace coppice::core {

class reactor;
class stall_watch;
class thread_crew;

/// A way to reach a loop that may outlive it. Copyable. Thread: any.
class loop_ref {
 public:
  /// Runs `fn` on the loop's thread, after what was posted before, outside of every task. False:
  /// the loop has ended, `fn` is gone. What `fn` throws ends the loop's run.
  bool post(base::unique_function<void()> fn) const;

  /// The same, but a sleeping loop takes it only when something else wakes it.
  bool post_quiet(base::unique_function<void()> fn) const;

  /// Without an allocation: the item is the loop's until it is run or dropped. False: still yours.
  bool post(inbox_item& item) const noexcept { return inbox_->push(item, false); }
  bool post_quiet(inbox_item& item) const noexcept { return inbox_->push(item, true); }

  /// Cancels the root scope of the run that is under way, or of the next one.
  bool cancel(std::string_view reason) const;

 private:
  friend class loop;
  loop_ref(std::shared_ptr<inbox> i, class loop& l) : inbox_(std::move(i)), loop_(&l) {}
  std::shared_ptr<inbox> inbox_;  // Shared: posting to a loop that has ended must be safe.
  class loop* loop_;              // Touched on the loop's thread only.
};

/// Something to do once at the end of the present turn. Owner: its class; it must outlive the turn.
class turn_hook {
 public:
  turn_hook() = default;
  turn_hook(const turn_hook&) = delete;
  turn_hook& operator=(const turn_hook&) = delete;
  virtual void at_turn_end() = 0;

 protected:
  ~turn_hook() = default;

 private:
  friend class loop;
  turn_hook* next_ = nullptr;
  bool queued_ = false;
};

/// Something to do when no task is ready, before the loop sleeps or virtual time jumps. Leaves by
/// unlink(). Owner: its class.
class idle_hook : public detail::list_link<idle_hook> {
 public:
  virtual void at_idle() noexcept = 0;

 protected:
  ~idle_hook() = default;
};

struct loop_options {
  std::string name = "loop";
  coppice::clock* time = nullptr;                 // Null: system_clock(). Outlives the loop.
  std::shared_ptr<stall_watch> stalls = nullptr;  // Looks at its runs. Shared by a process's loops.
  /// Where to_thread() gets its threads. Null: the loop has its own, joined at the end of each run.
  /// Shared by a process's loops.
  std::shared_ptr<base::worker_pool> threads = nullptr;
  /// Tasks that are ready at the same time run in the order in which they became so; with a seed,
  /// in one that the seed decides. Same seed, same program, same order.
  std::optional<std::uint64_t> order_seed = {};
};

/// Runs tasks on the thread that calls run().
///
/// A turn: the tasks that are ready, in order; the turn hooks; what other threads posted; timers
/// that are due; I/O. With nothing to do it sleeps until one of the last three: on a futex if no
/// I/O waits, else in epoll. Before a futex it looks for a moment whether somebody posts, if that
/// has paid lately: base::spin_wait.
///
/// Promises: a post from another thread costs no system call while the loop is awake, and one
/// wake-up when it sleeps; posts run in order; nothing of a run remains when run() returns.
///
/// # Why not an io_context alone?
/// Its timers have their own clock, so time could not be virtual; its queue is shared, so a hop
/// between two tasks would lock; and it cannot say what waits for what.
///
/// Owner: the stack of the thread that runs it, or whoever joins that thread. Thread: the one that
/// calls run(), but for post(), post_quiet(), cancel() and ref().
class loop final : public detail::scheduler {
 public:
  explicit loop(loop_options options = {});
  ~loop();  // REQUIRES: not running. What was posted and not run is dropped.

  /// Runs `root` to its end on this thread, inside a root scope, and gives its value or throws:
  /// also `cancelled`, if cancel() ended it. One after another, never two at once.
  template <class T>
  T run(task<T> root);

  loop_ref ref() noexcept { return loop_ref(inbox_, *this); }
  bool post(base::unique_function<void()> fn) { return ref().post(std::move(fn)); }
  bool post_quiet(base::unique_function<void()> fn) { return ref().post_quiet(std::move(fn)); }
  bool post(inbox_item& item) noexcept { return inbox_->push(item, false); }
  bool post_quiet(inbox_item& item) noexcept { return inbox_->push(item, true); }
  bool cancel(std::string_view reason) { return ref().cancel(reason); }

  bool on_loop_thread() const noexcept { return current() == this; }
  static loop* current() noexcept;  // The one that runs on this thread, or null.
  /// The task whose code runs; null for what is posted and for hooks.
  detail::task_node* running() const noexcept { return pulse_->running(); }

  /// Once, after the present batch of ready tasks and before the loop sleeps: to send in batches.
  void at_turn_end(turn_hook& hook) noexcept;
  void at_turn_end(base::unique_function<void()> fn);

  /// Once, the next time that no task is ready.
  void when_idle(idle_hook& hook) noexcept { idle_hooks_.push_back(hook); }

  /// While one exists, somebody outside will post: virtual time stands still, and nothing ready is
  /// not a deadlock. Made and ended on the loop's thread.
  class outside_work {
   public:
    explicit outside_work(loop& l) noexcept : loop_(&l) { ++l.outside_work_; }
    outside_work(outside_work&& other) noexcept : loop_(std::exchange(other.loop_, nullptr)) {}
    outside_work& operator=(outside_work&&) = delete;
    ~outside_work() {
      if (loop_ != nullptr) --loop_->outside_work_;
    }

   private:
    loop* loop_;
  };

  reactor& io();                                   // Include core/reactor.hpp for what it can do.
  thread_crew& threads();                          // Likewise core/thread_call.hpp.
  std::vector<abandoned_work> quarantine() const;  // By to_thread().
  const std::string& name() const noexcept { return name_; }

  /// The task tree: names, what each waits for, what is cancelled. On the loop's thread.
  void describe(base::tree_writer& out) const;

  /// The same from any thread, and as data. Thread: any. Outlives the loop.
  loop_view view() const { return loop_view(pulse_); }
  loop_pulse& pulse() const noexcept { return *pulse_; }  // Thread: any.

 private:
  friend class detail::scheduler;
  friend class loop_ref;
  friend struct tree_access;

  template <class T>
  class root_task;

  void run_root(detail::task_node& root);
  void turn(const detail::task_node& root);
  void run_ready();
  detail::task_node* shuffled(detail::task_node* batch);
  void resume(detail::task_node& task);
  void run_hooks();
  void run_inbox();
  void fire_timers() noexcept;
  void poll_io() noexcept;
  void wait_io(duration limit) noexcept;
  void sleep();
  bool run_idle_hooks() noexcept;
  bool nothing_to_do() const noexcept { return ready_first_ == nullptr && hooks_first_ == nullptr; }
  void fail(std::exception_ptr e) noexcept;
  void cancel_root(const std::string& reason);
  void look_at_clock() noexcept { set_turn_began(clock_->now()); }
  void set_turn_began(time_point now) noexcept {
    turn_began_ = now;
    pulse_->turn_began_at(now);
  }
  void finish_run();

  const std::string name_;
  std::shared_ptr<inbox> inbox_;
  const std::shared_ptr<loop_pulse> pulse_;  // Shared with those who look at it from elsewhere.
  const std::shared_ptr<stall_watch> stalls_;
  struct shuffle {
    std::mt19937_64 numbers;
    std::vector<detail::task_node*> batch;  // Kept for its room.
  };
  std::unique_ptr<shuffle> shuffle_;  // Null: in the order of becoming ready.
  timer_heap timers_;
  std::unique_ptr<reactor> reactor_;
  const std::shared_ptr<base::worker_pool> shared_threads_;  // Null: crew_ has its own.
  std::unique_ptr<thread_crew> crew_;                        // Null until it is used.
  turn_hook* hooks_first_ = nullptr;
  turn_hook* hooks_last_ = nullptr;
  detail::list<idle_hook, idle_hook> idle_hooks_;
  detail::task_node* root_ = nullptr;  // Of the run under way.
  coppice::cancel_scope* root_scope_ = nullptr;
  std::string cancel_next_run_;  // A reason that came before there was a run.
  std::exception_ptr failure_;   // What a posted function threw.
  int outside_work_ = 0;
  unsigned resumed_since_poll_ = 0;
};

/// The loop of a task: `loop_of(co_await detail::this_task{})`.
inline loop& loop_of(const detail::task_node& task) noexcept {
  return static_cast<loop&>(task.loop);
}

template <class T>
class loop::root_task final : public detail::task_node {
 public:
  root_task(class loop& l, detail::frame<T> f) : task_node(l, l.name()), frame_(std::move(f)) {
    frame_.promise().node = this;
    resume_at = frame_.get();
  }
  void finished() noexcept override {}
  T take() { return frame_.promise().result.take(); }

 private:
  detail::frame<T> frame_;
};

template <class T>
T loop::run(task<T> root) {
  root_task<T> node(*this, detail::take(std::move(root)));
  run_root(node);
  return node.take();
}

}  // namespace coppice::core
