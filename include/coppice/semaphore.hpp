// SPDX-License-Identifier: Apache-2.0
// semaphore: a number of permits, taken and given back by any task.
#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "coppice/detail/promise.hpp"

namespace coppice {

struct semaphore_options {
  std::string_view name = {};
  /// More permits than this were never taken: release() throws limit_exceeded then.
  std::size_t value_max = std::numeric_limits<std::size_t>::max();
};

/// Counts permits: acquire() takes one or waits for one, release() makes one.
///
/// Promises:
/// - Tasks get permits in the order in which they asked. A permit that is released goes straight to
///   the first that waits: whoever asks later cannot overtake it.
/// - acquire() is a checkpoint; a cancelled one has not acquired and leaves no trace.
/// - A permit is given back when it ends, however its block does, in whichever task; one that was
///   detached is given back by release().
/// - There are never more than `value_max`.
///
///     semaphore connections(4, {.name = "connections", .value_max = 4});
///     auto permit = co_await connections.acquire();
///     co_await fetch(url);  // four at a time
///
/// # Why not capacity_limiter?
/// It knows who has its tokens, refuses a second one to the same borrower, and can be resized; use
/// that to limit work. A semaphore's permits belong to nobody: one task may make what another
/// takes.
///
/// Owner: a frame that outlives its users. Thread: one loop's.
class semaphore {
 public:
  explicit semaphore(std::size_t value,
                     semaphore_options options = {});  // REQUIRES: at most .value_max.
  semaphore(const semaphore&) = delete;
  semaphore& operator=(const semaphore&) = delete;
  ~semaphore();  // REQUIRES: nobody waits.

  class permit;
  class acquire_op;

  [[nodiscard("co_await it")]] acquire_op acquire() noexcept;  // Waits for a permit.

  /// Never waits. Empty: there is none.
  [[nodiscard("the permit is given back when it ends")]] std::optional<permit> try_acquire();

  void release();  // One permit more. Throws limit_exceeded.

  std::size_t value() const noexcept { return value_; }  // Permits to be had without waiting.
  std::size_t value_max() const noexcept { return value_max_; }
  std::size_t waiting() const noexcept { return waiters_.count(); }
  const std::string& name() const noexcept { return name_; }

  std::string describe() const;  // "semaphore 'connections', 1 of at most 4 left, 0 waiting"

 private:
  struct waiters;  // Tag.

  bool full() const noexcept { return value_ == value_max_; }
  void add() noexcept;

  const std::string name_;
  const std::size_t value_max_;
  std::size_t value_;  // Not zero: nobody waits.
  detail::list<acquire_op, waiters> waiters_;
};

/// One permit, given back when it ends.
class [[nodiscard("the permit is given back when it ends")]] semaphore::permit {
 public:
  permit(permit&& other) noexcept : semaphore_(std::exchange(other.semaphore_, nullptr)) {}
  permit& operator=(permit&&) = delete;
  ~permit();  // REQUIRES: release() was not called for it, beyond value_max.

  void release() noexcept;                          // Before its end. Again: nothing.
  void detach() noexcept { semaphore_ = nullptr; }  // Somebody will call semaphore::release().
  bool held() const noexcept { return semaphore_ != nullptr; }

 private:
  friend class semaphore;
  explicit permit(semaphore& s) noexcept : semaphore_(&s) {}
  semaphore* semaphore_;
};

class semaphore::acquire_op final : public detail::wait_op,
                                    public detail::list_link<semaphore::waiters> {
 public:
  explicit acquire_op(semaphore& s) noexcept : semaphore_(s) {}
  acquire_op(acquire_op&& other) noexcept
      : detail::wait_op(), list_link(), semaphore_(other.semaphore_) {}

  bool begin() noexcept;
  permit finish() noexcept { return permit(semaphore_); }
  bool abort() noexcept override;
  std::string describe() const override;

 private:
  friend class semaphore;
  semaphore& semaphore_;
};

inline semaphore::acquire_op semaphore::acquire() noexcept { return acquire_op(*this); }

}  // namespace coppice
