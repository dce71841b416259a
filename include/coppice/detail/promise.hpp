// SPDX-License-Identifier: Apache-2.0
// The promise behind task<T>, and what its coroutines may await.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

#include "coppice/detail/settled.hpp"
#include "coppice/detail/task_node.hpp"

namespace coppice::detail {

template <class T>
class task_promise;
template <class T>
class next_awaiter;  // Of a generator: coppice/generator.hpp.
template <class T>
struct next_of;

/// What every coroutine frame of ours knows: its task, and who awaits it.
class promise_base {
 public:
  std::suspend_always initial_suspend() const noexcept { return {}; }

  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> h) const noexcept {
      return h.promise().leave();
    }
    void await_resume() const noexcept {}
  };
  final_awaiter final_suspend() const noexcept { return {}; }

  task_node* node = nullptr;             // Set when it is started or awaited.
  std::coroutine_handle<> continuation;  // Empty: a task's outermost coroutine.

 private:
  std::coroutine_handle<> leave() noexcept {
    if (!continuation) {
      node->state = task_state::done;
      return std::noop_coroutine();
    }
    if (!node->loop.must_bounce()) return continuation;
    node->resume_at = continuation;
    node->loop.make_ready(*node);
    return std::noop_coroutine();
  }
};

/// Owns a coroutine frame taken out of a task, so that combinators can hold it. Movable, unlike
/// task.
template <class T>
class frame {
 public:
  using handle = std::coroutine_handle<task_promise<T>>;

  explicit frame(handle h) noexcept : handle_(h) {}
  frame(frame&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  frame& operator=(frame&&) = delete;
  ~frame() {
    if (handle_) handle_.destroy();
  }

  handle get() const noexcept { return handle_; }
  task_promise<T>& promise() const noexcept { return handle_.promise(); }

 private:
  handle handle_;
};

/// The frame inside a task: `take(f(x))`.
template <class T>
frame<T> take(task<T>&& t) noexcept;

/// Awaiting a coroutine: control passes straight into it and back; not a checkpoint by itself.
/// Owns the frame, which so ends with the expression that awaits it.
template <class T>
class frame_awaiter {
 public:
  explicit frame_awaiter(frame<T> f) noexcept : frame_(std::move(f)) {}
  frame_awaiter(const frame_awaiter&) = delete;

  bool await_ready() const noexcept { return false; }

  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> h) noexcept {
    task_node& node = *h.promise().node;
    task_promise<T>& inner = frame_.promise();
    inner.node = &node;
    inner.continuation = h;
    if (!node.loop.must_bounce()) return frame_.get();
    node.resume_at = frame_.get();
    node.loop.make_ready(node);
    return std::noop_coroutine();
  }

 protected:
  frame<T> frame_;
};

template <class T>
class value_awaiter : public frame_awaiter<T> {
 public:
  using frame_awaiter<T>::frame_awaiter;
  T await_resume() { return this->frame_.promise().result.take(); }
};

/// `co_await captured<T>(…)`: how it ended, as a value; never throws, not even `cancelled`.
template <class T>
struct captured {
  explicit captured(frame<T> f) noexcept : inner(std::move(f)) {}
  frame<T> inner;
};

template <class T>
class captured_awaiter : public frame_awaiter<T> {
 public:
  using frame_awaiter<T>::frame_awaiter;
  settled<T> await_resume() noexcept { return std::move(this->frame_.promise().result); }
};

struct this_task {};  // `co_await this_task{}`: the task_node that runs here. Does not suspend.

struct this_task_awaiter {
  task_node* node;
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  task_node& await_resume() const noexcept { return *node; }
};

/// An operation: `begin(node)` is true if it is complete at once; `finish()` gives its result.
template <class Op>
concept operation = std::derived_from<Op, wait_op> && requires(Op& op) {
  { op.begin() } -> std::same_as<bool>;
  op.finish();
};

/// One that is done in no time and many times in a row, such as taking what has arrived already: it
/// passes through the ready queue only every so often, see scheduler::must_bounce().
template <class Op>
concept prompt_operation = operation<Op> && requires { requires Op::prompt; };

/// Awaiting an operation: a checkpoint. Looks for a cancellation first, then begins; passes through
/// the ready queue, so that a task that never has to wait still lets the others run.
/// Refers to the operation, because g++ 12 copies an awaiter that await_transform() hands through.
template <class Op>
class op_awaiter {
 public:
  explicit op_awaiter(Op& op) noexcept : op_(&op) {}

  bool await_ready() const noexcept { return false; }

  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) {  // False: goes on at once.
    task_node& node = *h.promise().node;
    wait_op& base = *op_;
    base.waiter_ = &node;
    node.resume_at = h;
    if (!Op::shielded && node.cancel_visible()) [[unlikely]] {
      node.woken_by_cancel = true;
      node.loop.make_ready(node);
    } else if (op_->begin()) {
      if (prompt_operation<Op> && !node.loop.must_bounce()) return false;
      node.loop.make_ready(node);
    } else {
      node.park(*op_);
    }
    return true;
  }

  decltype(auto) await_resume() {
    task_node& node = *static_cast<wait_op&>(*op_).waiter_;
    if (std::exchange(node.woken_by_cancel, false)) [[unlikely]]
      node.throw_cancelled();
    return op_->finish();
  }

 private:
  Op* op_;
};

template <class T>
struct is_task : std::false_type {};
template <class T>
struct is_task<task<T>> : std::true_type {};

template <class Whatever>
inline constexpr bool always_false = false;

/// What a coroutine of ours may await: a task, an operation, and nothing foreign.
class awaiting_promise : public promise_base {
 public:
  template <class U>
  value_awaiter<U> await_transform(task<U> t) noexcept;
  template <class U>
  captured_awaiter<U> await_transform(captured<U> c) noexcept {
    return captured_awaiter<U>(std::move(c.inner));
  }
  template <operation Op>
  op_awaiter<Op> await_transform(Op& op) noexcept {
    return op_awaiter<Op>(op);
  }
  template <operation Op>
  op_awaiter<Op> await_transform(Op&& op) noexcept {
    return op_awaiter<Op>(op);
  }
  template <class U>
  next_awaiter<U> await_transform(next_of<U> n) noexcept;
  this_task_awaiter await_transform(this_task) noexcept { return {node}; }

  template <class Foreign>
    requires(!operation<std::remove_cvref_t<Foreign>>)
  void await_transform(Foreign&&) {
    static_assert(
        always_false<Foreign>,
        "every co_await must be a checkpoint, so only tasks and operations of coppice can be "
        "awaited; wrap an Asio operation in asio_op(...)");
  }
};

template <class T>
class task_promise : public awaiting_promise {
 public:
  task<T> get_return_object() noexcept;

  template <class U = T>
    requires std::convertible_to<U&&, T>
  void return_value(U&& value) {
    result.emplace(std::forward<U>(value));
  }
  void unhandled_exception() noexcept { result.fail(std::current_exception()); }

  settled<T> result;
};

template <>
class task_promise<void> : public awaiting_promise {
 public:
  task<void> get_return_object() noexcept;

  void return_void() noexcept { result.emplace(); }
  void unhandled_exception() noexcept { result.fail(std::current_exception()); }

  settled<void> result;
};

}  // namespace coppice::detail
