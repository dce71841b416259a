// SPDX-License-Identifier: Apache-2.0
// nursery: a block that runs tasks side by side and does not end before the last of them.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "coppice/cancel_scope.hpp"
#include "coppice/detail/block.hpp"
#include "coppice/detail/child_task.hpp"
#include "coppice/detail/start_args.hpp"
#include "coppice/task.hpp"

namespace coppice {

namespace detail {  // Defined in detail/nursery_block.hpp.
template <class Fn, class... Args>
auto start_child(nursery& n, std::string_view name, Fn&& fn, Args&&... args);
template <class N, class Body, class... Init>
auto open_block(Body&& body, Init... init);
}  // namespace detail

/// Tasks that live and die together. Opened by open_nursery(), which runs a body with it.
///
/// Promises:
/// - open_nursery() returns when its body and every task have ended, however they ended. That wait
///   is no cancellation point: what ended well is not thrown away.
/// - Tasks can be started, by whoever has the reference, until then; also when the body has ended.
///   Later is an error that aborts.
/// - One fails: the others are cancelled. All failures are thrown, one bare, more as error_group; a
///   failure is never lost to a cancellation, nor to another failure.
/// - Arguments of tasks are converted to the parameters' types when the task is started, and owned
///   by it; std::ref shares. Text given to a std::string_view parameter is kept.
/// - A task starts to run at the next turn of the loop, in the order of starting, never inside
///   start_soon().
///
///     co_await open_nursery([&](nursery& n) -> task<> {
///       n.start_soon(hello, "ada", 2s);
///       n.start_soon("counter", count, std::ref(total));
///       auto port = co_await n.start(serve, 0);  // waits for status.started(port)
///       n.cancel("seen enough");
///     });  // here every task has ended
///
/// # Why not a nursery object with join()?
/// An exception on the way to join() skips it, and then tasks outlive what they refer to.
///
/// Owner: the frame of open_nursery(). Thread: its loop's.
class nursery : public detail::list_link<detail::of_task> {
 public:
  nursery(const nursery&) = delete;
  nursery& operator=(const nursery&) = delete;

  /// Starts `fn(args...)`, which returns a task, beside the others. The name is what a dump prints.
  template <class Fn, class... Args>
    requires(!std::convertible_to<Fn, std::string_view>)
  void start_soon(Fn&& fn, Args&&... args) {
    adopt(detail::make_child(*this, std::string_view(), std::forward<Fn>(fn),
                             std::forward<Args>(args)...));
  }
  template <class Fn, class... Args>
  void start_soon(std::string_view name, Fn&& fn, Args&&... args) {
    adopt(detail::make_child(*this, name, std::forward<Fn>(fn), std::forward<Args>(args)...));
  }

  /// Starts `fn(args..., status)` and waits until it calls `status.started(value)`; gives that
  /// value. Until then the task belongs to this call: its failure is thrown here, cancelling this
  /// call cancels it. From then on it belongs to the nursery.
  template <class Fn, class... Args>
    requires(!std::convertible_to<Fn, std::string_view>)
  auto start(Fn&& fn, Args&&... args) {
    return detail::start_child(*this, std::string_view(), std::forward<Fn>(fn),
                               std::forward<Args>(args)...);
  }
  template <class Fn, class... Args>
  auto start(std::string_view name, Fn&& fn, Args&&... args) {
    return detail::start_child(*this, name, std::forward<Fn>(fn), std::forward<Args>(args)...);
  }

  /// Asks everything in here to stop, the body too. The block's end waits for it.
  void cancel(std::string_view reason = {}) { scope_.cancel(reason); }

  coppice::cancel_scope& scope() noexcept { return scope_; }
  const coppice::cancel_scope& scope() const noexcept { return scope_; }
  std::size_t task_count() const noexcept { return children_count_; }  // Not counting the body.
  std::string name() const { return scope_.name(); }

  /// For functions that run bodies, as open_nursery() does; see detail/block.hpp.
  nursery(detail::task_node& parent, std::string name);
  ~nursery();

  class join_op;
  void body_ended(const std::exception_ptr& error) noexcept;
  join_op join() noexcept;  // Waits for every task that there is. Never throws.
  bool idle() const noexcept { return children_count_ == 0 && pending_starts_ == 0; }
  void close();  // Throws what failed, or `cancelled` if it is not ours to absorb.
  void give_to(nursery& other) noexcept;  // Hands over every task; for start().
  void hold() noexcept;                   // A start() is under way: do not end.
  void unhold() noexcept;
  void adopt(std::unique_ptr<detail::child_base> child);
  [[noreturn]] void throw_no_value() const;
  [[noreturn]] void throw_not_started() const;

  /// What a dump walks.
  const detail::list<detail::task_node, detail::in_nursery>& children() const noexcept {
    return children_;
  }
  detail::scheduler& loop() const noexcept { return parent_.loop; }

 private:
  friend class detail::child_base;
  friend struct core::tree_access;

  void child_ended(std::exception_ptr error, const std::string& name) noexcept;
  void add_failure(std::exception_ptr error, const std::string& who) noexcept;
  void wake_joiner_if_idle() noexcept;

  detail::task_node& parent_;  // Whose frame it is in; runs the body.
  coppice::cancel_scope scope_;
  detail::list<detail::task_node, detail::in_nursery> children_;
  std::size_t children_count_ = 0;
  std::size_t pending_starts_ = 0;  // Calls of start() that may still hand a task over.
  std::vector<std::exception_ptr> failures_;
  std::exception_ptr cancelled_;  // The first `cancelled` that came out of the body or a task.
  join_op* joiner_ = nullptr;
  bool closed_ = false;
};

/// The wait at the end of a nursery's block. A cancellation does not end it: the tasks were told by
/// the same one, and what they make of it decides.
class nursery::join_op : public detail::wait_op {
 public:
  explicit join_op(nursery& n) noexcept : nursery_(n) {}
  static constexpr bool shielded = true;
  bool begin() noexcept;
  void finish() noexcept {}
  bool abort() noexcept override { return false; }
  std::string describe() const override;

 private:
  friend class nursery;
  nursery& nursery_;
};

/// Given to a task by nursery::start(), as its last parameter. Trivially copyable; valid while that
/// task runs. A task that was started with start_soon() gets one that does nothing.
template <class T>
class task_status {
 public:
  task_status() = default;

  /// "I am up": start() returns `value`, and the nursery takes over the task. Once only.
  template <class U = T>
    requires(!std::is_void_v<T> && std::convertible_to<U &&, T>)
  void started(U&& value) const {
    fill([&](detail::settled<T>& to) { to.emplace(std::forward<U>(value)); });
  }
  void started() const
    requires std::is_void_v<T>
  {
    fill([](detail::settled<T>& to) { to.emplace(); });
  }

 private:
  friend struct detail::status_access;
  explicit task_status(detail::child_base* child) noexcept : child_(child) {}

  template <class Fill>
  void fill(Fill&& with) const {
    if (child_ == nullptr) return;
    child_->started([&](void* to) { with(*static_cast<detail::settled<T>*>(to)); });
  }

  detail::child_base* child_ = nullptr;
};

}  // namespace coppice

#include "coppice/detail/nursery_block.hpp"

namespace coppice {

/// Runs `body(nursery&)`, waits for it and for every task that it started, and gives its value. The
/// body is a lambda that returns a task, or a plain one. Capture by reference.
///
/// A block that its own nursery's cancel() ended, ends quietly; if it was to give a value and had
/// none yet, it throws `error`.
template <class Body>
  requires std::invocable<Body&, nursery&>
auto open_nursery(Body&& body) {
  return detail::open_block<nursery>(std::forward<Body>(body), std::string());
}
template <class Body>
  requires std::invocable<Body&, nursery&>
auto open_nursery(std::string_view name, Body&& body) {
  return detail::open_block<nursery>(std::forward<Body>(body), std::string(name));
}

}  // namespace coppice
