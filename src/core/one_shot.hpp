// SPDX-License-Identifier: Apache-2.0
// one_shot<T>: a value or an error that plain code on the loop's thread delivers to one waiting
// task.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "coppice/detail/promise.hpp"
#include "coppice/task.hpp"

namespace coppice::core {

/// Where callbacks meet tasks: a reply, an exit, an acknowledgement.
///
/// Promises: the first delivery counts, later ones are refused; it may come before, during or after
/// the wait; a cancelled wait leaves the slot as it was, so that a later delivery is kept and a
/// later wait gets it.
///
///     one_shot<int> reply("reply to 'add'");
///     port.call(…, [&](int v) { reply.set(v); });   // on the loop's thread; from others: post
///     int v = co_await reply.wait();
///
/// Owner: a frame or object that outlives the wait. Thread: one loop's.
template <class T>
class one_shot {
 public:
  explicit one_shot(std::string_view what = {}) : what_(what) {}
  one_shot(const one_shot&) = delete;
  one_shot& operator=(const one_shot&) = delete;
  ~one_shot() { detail::check(waiter_ == nullptr, "a one_shot ended while a task waits for it"); }

  class wait_op final : public detail::wait_op {
   public:
    explicit wait_op(one_shot& s) noexcept : slot_(s) {}
    wait_op(wait_op&& other) noexcept : detail::wait_op(), slot_(other.slot_) {}

    bool begin() noexcept {
      detail::check(slot_.waiter_ == nullptr, "two tasks wait for one one_shot: one may");
      if (slot_.delivered_) return true;
      slot_.waiter_ = this;
      return false;
    }
    T finish() { return slot_.how_.take(); }
    bool abort() noexcept override {
      slot_.waiter_ = nullptr;
      return true;
    }
    std::string describe() const override {
      return slot_.what_.empty() ? std::string("a one_shot") : slot_.what_;
    }

   private:
    friend class one_shot;  // wake()
    one_shot& slot_;
  };

  /// True: this was the first delivery.
  template <class... Args>
  bool set(Args&&... value) {
    if (delivered_) return false;
    how_.emplace(std::forward<Args>(value)...);
    deliver();
    return true;
  }
  bool set_error(std::exception_ptr e) noexcept {
    if (delivered_) return false;
    how_.fail(std::move(e));
    deliver();
    return true;
  }
  bool delivered() const noexcept { return delivered_; }

  /// Waits for the delivery: gives the value, moved out, or throws the error. Once.
  [[nodiscard("co_await it")]] wait_op wait() noexcept { return wait_op(*this); }

 private:
  void deliver() noexcept {
    delivered_ = true;
    if (waiter_ != nullptr) std::exchange(waiter_, nullptr)->wake();
  }

  const std::string what_;
  detail::settled<T> how_;
  wait_op* waiter_ = nullptr;
  bool delivered_ = false;
};

/// one_shot::wait() for what takes a task, like move_on_after() and detail::captured().
template <class T>
task<T> wait_for(one_shot<T>* slot) {
  co_return co_await slot->wait();
}

}  // namespace coppice::core
