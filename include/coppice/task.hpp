// SPDX-License-Identifier: Apache-2.0
// task<T>: a coroutine that runs when it is awaited, inside the scope of whoever awaits it.
#pragma once

#include <coroutine>
#include <type_traits>

#include "coppice/detail/promise.hpp"
#include "coppice/fwd.hpp"

namespace coppice {

/// What a coroutine of ours returns. Lazy: nothing of it runs before `co_await`.
///
/// Promises: it ends before the expression that awaits it does; its exception, or `cancelled`,
/// comes out of the `co_await`; destroying one that was never awaited runs nothing.
///
///     task<int> twice(int x) { co_await checkpoint(); co_return 2 * x; }
///     int y = co_await twice(21);
///
/// Immovable: it is awaited where it is made, so that its arguments are still there. To run it
/// beside others, give the function and its arguments to nursery::start_soon().
///
/// # Why not eager, or a future that can be kept?
/// Work that begins before somebody waits for it outlives errors and scopes. Here whoever starts
/// something waits for it.
///
/// Owner: the expression that made it. Thread: one loop's.
template <class T>
class [[nodiscard(
    "a task runs only when awaited: co_await it here, or give the function to "
    "nursery::start_soon()")]] task {
  static_assert(!std::is_reference_v<T>, "a task gives a value: return a pointer, or std::ref");

 public:
  using promise_type = detail::task_promise<T>;
  using value_type = T;

  task(const task&) = delete;  // Await it where it is made: co_await f(x), not auto t = f(x).
  task& operator=(const task&) = delete;
  ~task() {
    if (handle_) handle_.destroy();
  }

 private:
  friend promise_type;
  friend detail::frame<T> detail::take<T>(task&& t) noexcept;
  friend class detail::awaiting_promise;
  using handle = std::coroutine_handle<promise_type>;

  explicit task(handle h) noexcept : handle_(h) {}
  detail::frame<T> release() noexcept { return detail::frame<T>(std::exchange(handle_, nullptr)); }

  handle handle_;
};

namespace detail {

template <class T>
frame<T> take(task<T>&& t) noexcept {
  return t.release();
}

template <class U>
value_awaiter<U> awaiting_promise::await_transform(task<U> t) noexcept {
  return value_awaiter<U>(t.release());
}

template <class T>
task<T> task_promise<T>::get_return_object() noexcept {
  return task<T>(std::coroutine_handle<task_promise>::from_promise(*this));
}

inline task<void> task_promise<void>::get_return_object() noexcept {
  return task<void>(std::coroutine_handle<task_promise>::from_promise(*this));
}

template <operation Op>
task<decltype(std::declval<Op&>().finish())> as_task(Op op) {
  co_return co_await op;
}

// What combinators take: a task, or an operation such as channel::receive(), awaited where they run
// it.
template <class W>
concept awaitable = !std::is_lvalue_reference_v<W> && (is_task<W>::value || operation<W>);

template <class T>
frame<T> to_frame(task<T>&& t) noexcept {
  return take(std::move(t));
}
template <operation Op>
auto to_frame(Op&& op) {
  return take(as_task(std::forward<Op>(op)));
}

template <class W>
struct awaited {
  using type = decltype(std::declval<W&>().finish());
};
template <class T>
struct awaited<task<T>> {
  using type = T;
};
template <awaitable W>
using awaited_t = typename awaited<W>::type;

}  // namespace detail
}  // namespace coppice
