// SPDX-License-Identifier: Apache-2.0
// generator<T>: a coroutine that gives values one by one, and may wait in between.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "coppice/detail/check.hpp"
#include "coppice/detail/promise.hpp"
#include "coppice/kw.hpp"

namespace coppice {

template <class T>
class generator;

namespace detail {

template <class T>
class generator_promise : public awaiting_promise {
 public:
  generator<T> get_return_object() noexcept;

  struct yield_awaiter {
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(
        std::coroutine_handle<generator_promise> h) const noexcept {
      return h.promise().to_consumer();
    }
    void await_resume() const noexcept {}
  };
  yield_awaiter yield_value(const T& v) {
    value.emplace(v);
    return {};
  }
  yield_awaiter yield_value(T&& v)
    requires safe_temporary<T&&>
  {
    value.emplace(std::move(v));
    return {};
  }
  // g++ 12 destroys this temporary twice: name it on the line before.
  yield_awaiter yield_value(T&& v)
    requires(!safe_temporary<T &&>)
  = delete;
  void return_void() noexcept {}
  void unhandled_exception() noexcept { error = std::current_exception(); }

  cancel_scope* scope_at_entry = nullptr;
  std::optional<T> value;
  std::exception_ptr error;

 private:
  std::coroutine_handle<> to_consumer() noexcept {
    check(node->scope == scope_at_entry,
          "co_yield inside a scope or nursery that the generator opened: its consumer may never "
          "come back to end it; give the values to a channel there");
    if (!node->loop.must_bounce()) return continuation;
    node->resume_at = continuation;
    node->loop.make_ready(*node);
    return std::noop_coroutine();
  }
};

/// What generator::next() gives: to be awaited where it is made.
template <class T>
struct [[nodiscard("co_await it")]] next_of {
  std::coroutine_handle<generator_promise<T>> of;
};

template <class T>
class next_awaiter {
 public:
  explicit next_awaiter(std::coroutine_handle<generator_promise<T>> of) noexcept : of_(of) {}

  bool await_ready() const noexcept { return of_.done(); }

  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> h) noexcept {
    task_node& node = *h.promise().node;
    generator_promise<T>& inner = of_.promise();
    inner.node = &node;
    inner.continuation = h;
    inner.scope_at_entry = node.scope;
    inner.value.reset();
    if (!node.loop.must_bounce()) return of_;
    node.resume_at = of_;
    node.loop.make_ready(node);
    return std::noop_coroutine();
  }

  std::optional<T> await_resume() {
    generator_promise<T>& inner = of_.promise();
    if (inner.error) std::rethrow_exception(std::exchange(inner.error, nullptr));
    if (of_.done()) return std::nullopt;
    return std::exchange(inner.value, std::nullopt);
  }

 private:
  std::coroutine_handle<generator_promise<T>> of_;
};

template <class U>
next_awaiter<U> awaiting_promise::await_transform(next_of<U> n) noexcept {
  return next_awaiter<U>(n.of);
}

}  // namespace detail

/// Values that are made when somebody asks for them:
///
///     generator<int> ticks(int n) {
///       for (int i = 0; i < n; ++i) {
///         co_await sleep_for(1s);
///         co_yield i;
///       }
///     }
///     auto g = ticks(3);
///     while (auto i = co_await g.next()) use(*i);
///
/// Promises: lazy, nothing of it runs before next(); it runs inside the task that asks, so it waits
/// and is cancelled where that does; what it throws comes out of next(), once, and then it has
/// ended. Ended in between, its locals are destroyed and nothing more of it runs. `co_yield` inside
/// a scope or nursery that it opened aborts.
///
/// As an endpoint it is a one-way stream: see portal::open_stream_from().
///
/// Owner: whoever made it. Movable. Thread: one loop's, one task at a time.
template <class T>
class [[nodiscard("a generator runs only when asked: co_await g.next()")]] generator {
  static_assert(std::is_object_v<T>, "a generator gives values");

 public:
  using promise_type = detail::generator_promise<T>;
  using value_type = T;

  generator(generator&& o) noexcept : handle_(std::exchange(o.handle_, nullptr)) {}
  generator& operator=(generator&&) = delete;
  ~generator() {
    if (handle_) handle_.destroy();
  }

  /// The next value; empty: it has ended. Not a checkpoint by itself.
  detail::next_of<T> next() noexcept { return {handle_}; }

 private:
  friend promise_type;
  explicit generator(std::coroutine_handle<promise_type> h) noexcept : handle_(h) {}
  std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <class T>
generator<T> generator_promise<T>::get_return_object() noexcept {
  return generator<T>(std::coroutine_handle<generator_promise>::from_promise(*this));
}

}  // namespace detail
}  // namespace coppice
