// SPDX-License-Identifier: Apache-2.0
// condition: waiting, with a lock released meanwhile, until another task says that something
// changed.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "coppice/lock.hpp"

namespace coppice {

/// A place to wait for a state that a lock protects.
///
/// Promises:
/// - wait() releases the lock and waits for a notification; when it ends, by that or by a
///   cancellation, the task has the lock again. A cancelled wait() therefore ends only once the
///   lock can be had.
/// - notify(n) wakes the first n that wait, notify_all() all of them, in the order in which they
///   came. They go on one after another, each when it has the lock.
/// - A waiter that was notified is not cancelled any more: no notification is lost to a
///   cancellation.
/// - Calling any of the three without the lock throws ownership_error. wait() is a checkpoint; a
///   task that is cancelled already does not let go of the lock.
///
///     condition filled("filled");
///     auto held = co_await filled.acquire();
///     while (queue.empty()) co_await filled.wait();  // Another task may have been faster.
///
/// # Why not event?
/// An event stays set. This is for a state that comes and goes; where values are handed over, a
/// channel is simpler than either.
///
/// Owner: a frame that outlives its users. Thread: one loop's.
class condition {
 public:
  explicit condition(std::string_view name = {});              // With a lock of its own.
  explicit condition(lock& with, std::string_view name = {});  // Several may share one.
  condition(const condition&) = delete;
  condition& operator=(const condition&) = delete;
  ~condition();  // REQUIRES: nobody waits.

  [[nodiscard("co_await it")]] lock::acquire_op acquire() noexcept { return lock_.acquire(); }
  lock& its_lock() noexcept { return lock_; }

  class wait_op;
  [[nodiscard("co_await it")]] wait_op wait() noexcept;

  void notify(std::size_t n = 1);  // Called in a task.
  void notify_all();

  std::size_t waiting() const noexcept { return waiters_.count(); }  // Not yet notified.

  std::string describe() const;  // "condition 'filled', 2 waiting; lock 'filled', free"

 private:
  void check_held(const char* what) const;

  const std::string name_;
  std::optional<lock> own_;
  lock& lock_;
  detail::list<lock::claim, lock::claims> waiters_;
};

/// Waits in the condition's list first, and in the lock's after that.
class condition::wait_op final : public lock::claim {
 public:
  explicit wait_op(condition& c) noexcept : claim(c.lock_), condition_(c) {}

  bool begin() noexcept;
  void finish() const;
  bool abort() noexcept override;
  std::string describe() const override;

 private:
  friend class condition;
  enum class stage : unsigned char { refused, waits, notified, cancelled };

  void notified() noexcept;

  condition& condition_;
  stage stage_ = stage::waits;
};

inline condition::wait_op condition::wait() noexcept { return wait_op(*this); }

}  // namespace coppice
