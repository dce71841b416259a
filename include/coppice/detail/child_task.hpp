// SPDX-License-Identifier: Apache-2.0
// The tasks of a nursery: function, arguments and coroutine in one allocation.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "coppice/detail/start_args.hpp"
#include "coppice/detail/task_node.hpp"
#include "coppice/task.hpp"

namespace coppice::detail {

/// Where nursery::start() waits for a task's started() call.
struct start_slot {
  nursery* from;  // start()'s own nursery, which has the task until then.
  nursery* to;    // Takes the task over.
  void* value;    // settled<T>* to fill.
};

/// A task in a nursery. Ends itself when its coroutine is done. Owner: its nursery.
class child_base : public task_node {
 public:
  child_base(nursery& n, std::string_view called);
  virtual ~child_base() = default;

  void finished() noexcept final;

  void expect_started(start_slot& slot) noexcept {
    slot_ = &slot;
    said_ = false;
  }

  template <class Fill>
  void started(Fill&& fill) {
    check(!said_, "task_status::started() was called twice: it is said once");
    if (slot_ == nullptr) return;  // Started with start_soon(): nobody asks.
    fill(slot_->value);
    said_ = true;
    hand_over(*std::exchange(slot_, nullptr));
  }

 private:
  virtual std::exception_ptr error() noexcept = 0;  // How its coroutine ended; null: well.
  static void hand_over(start_slot& slot) noexcept;

  start_slot* slot_ = nullptr;  // Null: not given to start(), or said already.
  bool said_ = false;
};

struct status_access {
  template <class T>
  static task_status<T> make(child_base* child) noexcept {
    return task_status<T>(child);
  }
};

/// `Call` makes the coroutine: see bound_call.
template <class Call>
class child_task final : public child_base {
  using result = decltype(std::declval<Call&>()());
  static_assert(is_task<result>::value,
                "a nursery starts functions that return a task: task<> f(…)");
  using value = typename result::value_type;

 public:
  template <class... A>
  child_task(nursery& n, std::string_view called, A&&... args)
      : child_base(n, called), call_(std::forward<A>(args)...), frame_(make_frame()) {
    frame_.promise().node = this;
    resume_at = frame_.get();
  }

 private:
  frame<value> make_frame() {
    if constexpr (Call::wants_status) {
      auto& status = call_.last_argument();
      using T = typename is_status<std::remove_reference_t<decltype(status)>>::status_value;
      status = status_access::make<T>(this);
    }
    return take(call_());
  }
  std::exception_ptr error() noexcept override { return frame_.promise().result.error(); }

  Call call_;
  frame<value> frame_;  // After call_: it may refer to the arguments.
};

/// The task `fn(args...)`, not yet in the nursery. A task_status that the caller leaves out is one
/// that does nothing, until expect_started().
template <class Fn, class... Args>
std::unique_ptr<child_base> make_child(nursery& n, std::string_view name, Fn&& fn, Args&&... args) {
  using seen = callable<Fn>;
  if constexpr (seen::takes_status && seen::arity == sizeof...(Args) + 1) {
    using call = bound_t<true, Fn, Args..., typename seen::last>;
    return std::make_unique<child_task<call>>(n, name, std::forward<Fn>(fn),
                                              std::forward<Args>(args)..., typename seen::last());
  } else {
    using call = bound_t<false, Fn, Args...>;
    return std::make_unique<child_task<call>>(n, name, std::forward<Fn>(fn),
                                              std::forward<Args>(args)...);
  }
}

}  // namespace coppice::detail
