// SPDX-License-Identifier: Apache-2.0
// lock: one task at a time.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "coppice/detail/holding.hpp"
#include "coppice/detail/promise.hpp"

namespace coppice {

/// Keeps other tasks out while one of them awaits in the middle of a change.
///
/// Promises:
/// - Tasks get it in the order in which they asked. A released lock goes straight to the first that
///   waits: whoever asks later cannot overtake it.
/// - It belongs to a task. Acquiring what the task has already, and releasing it in another task,
///   throw ownership_error.
/// - acquire() is a checkpoint; a cancelled one has not acquired and leaves no trace.
/// - The guard releases it, however the guard's block ends.
///
///     lock db("db");
///     auto held = co_await db.acquire();
///     co_await write(first);
///     co_await write(second);  // nobody between the two; released at the end of the block
///
/// # Why not std::mutex?
/// It blocks the thread, and with it the task that was to unlock. What does not await in the middle
/// needs no lock at all: between two awaits no other task runs.
///
/// # Why not recursive?
/// The inner holder would see what the outer one has half done.
///
/// Owner: a frame that outlives its users. Thread: one loop's.
class lock {
 public:
  explicit lock(std::string_view name = {}) : name_(name) {}
  lock(const lock&) = delete;
  lock& operator=(const lock&) = delete;
  ~lock();  // REQUIRES: nobody has it or waits for it.

  class guard;
  class acquire_op;

  /// Waits for it; gives a guard. Throws ownership_error.
  [[nodiscard("co_await it")]] acquire_op acquire() noexcept;

  /// Never waits. Empty: another task has it. Throws ownership_error. Called in a task.
  [[nodiscard("the lock is released when the guard ends")]] std::optional<guard> try_acquire();

  bool held() const noexcept { return holder_.task() != nullptr; }  // By whichever task.
  bool held_here() const noexcept { return holder_.is_of(detail::running_task()); }
  std::size_t waiting() const noexcept { return claims_.count(); }
  const std::string& name() const noexcept { return name_; }

  std::string describe() const;  // "lock 'db', held by 'writer', 2 waiting"

 private:
  friend class condition;
  struct claims;  // Tag.
  class claim;

  void pass_on() noexcept;  // Its holder has it no more: the first that waits, or nobody.
  [[noreturn]] void throw_has_it() const;

  const std::string name_;
  detail::holding holder_{this};
  detail::list<claim, claims> claims_;
};

/// A wait that ends with the lock being the waiter's.
class lock::claim : public detail::wait_op, public detail::list_link<lock::claims> {
 protected:
  explicit claim(lock& l) noexcept : lock_(l) {}
  claim(claim&& other) noexcept : detail::wait_op(), list_link(), lock_(other.lock_) {}
  ~claim() = default;

  bool take_if_free() noexcept;  // False: somebody has it.
  bool waiter_has_it() const noexcept { return lock_.holder_.is_of(&waiter()); }
  void queue() noexcept { lock_.claims_.push_back(*this); }

  lock& lock_;

 private:
  friend class lock;
  void grant() noexcept;
};

class lock::acquire_op final : public claim {
 public:
  explicit acquire_op(lock& l) noexcept : claim(l) {}

  bool begin() noexcept;
  guard finish();
  bool abort() noexcept override;
  std::string describe() const override;

 private:
  bool refused_ = false;
};

/// Has the lock, and releases it when it ends. Stays in the task that acquired.
class [[nodiscard("the lock is released when the guard ends")]] lock::guard {
 public:
  guard(guard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
  guard& operator=(guard&&) = delete;
  ~guard();

  void release();  // Before its end. Throws ownership_error: another task's, or released already.
  bool held() const noexcept { return lock_ != nullptr; }

 private:
  friend class lock;
  explicit guard(lock& l) noexcept : lock_(&l) {}
  lock* lock_;
};

inline lock::acquire_op lock::acquire() noexcept { return acquire_op(*this); }

}  // namespace coppice
