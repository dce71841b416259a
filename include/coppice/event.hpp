// SPDX-License-Identifier: Apache-2.0
// event: something that has happened or not; once it has, it stays so.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "coppice/detail/promise.hpp"

namespace coppice {

/// Many tasks wait, one says "now", and whoever comes later does not wait.
///
/// Promises: set() wakes every waiter, in the order in which they came; it stays set; waiting for a
/// set event is a checkpoint like any other; a cancelled waiter leaves no trace.
///
///     event ready("ready");
///     n.start_soon(worker, std::ref(ready));
///     co_await ready.wait();
///
/// # Why not reset()?
/// Between reset() and wait() a set() is lost. Use a fresh event per occurrence, or a channel.
///
/// Owner: a frame that outlives its waiters. Thread: one loop's; from elsewhere, post to that loop.
class event {
 public:
  explicit event(std::string_view name = {}) : name_(name) {}
  event(const event&) = delete;
  event& operator=(const event&) = delete;
  ~event();  // REQUIRES: nobody waits.

  void set() noexcept;
  bool is_set() const noexcept { return set_; }
  std::size_t waiting() const noexcept { return waiting_; }

  class wait_op;
  [[nodiscard("co_await it")]] wait_op wait() noexcept;

  std::string describe() const;  // "event 'ready', not set, 2 waiting"

 private:
  struct waiters;  // Tag.
  detail::list<wait_op, waiters> waiters_;
  const std::string name_;
  std::size_t waiting_ = 0;
  bool set_ = false;
};

class event::wait_op final : public detail::wait_op, public detail::list_link<event::waiters> {
 public:
  explicit wait_op(event& e) noexcept : event_(e) {}
  wait_op(wait_op&& other) noexcept : detail::wait_op(), list_link(), event_(other.event_) {}

  bool begin() noexcept;
  void finish() noexcept {}
  bool abort() noexcept override;
  std::string describe() const override;

 private:
  friend class event;
  event& event_;
};

inline event::wait_op event::wait() noexcept { return wait_op(*this); }

}  // namespace coppice
