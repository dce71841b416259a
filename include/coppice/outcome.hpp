// SPDX-License-Identifier: Apache-2.0
// as_result(task): a task's end as a value, for handlers that have to await.
#pragma once

#include <exception>
#include <utility>

#include "coppice/task.hpp"

namespace coppice {

/// A value or an error, never a cancellation.
///
///     auto r = co_await as_result(p.run(parse, text));
///     if (auto* e = r.error<remote_actor_error>()) { co_await sleep_for(100ms); … }
template <class T>
class [[nodiscard("it may hold an error")]] outcome {
 public:
  explicit outcome(detail::settled<T> how) : how_(std::move(how)) {}

  bool has_value() const noexcept { return how_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }

  /// The value, or throws the error. Moves the value out.
  T value() { return how_.take(); }

  auto& operator*() noexcept
    requires(!std::is_void_v<T>)
  {
    detail::check(has_value(),
                  "the outcome holds an error: look at error<E>() or exception() first");
    return how_.value();
  }
  auto* operator->() noexcept
    requires(!std::is_void_v<T>)
  {
    return &**this;
  }

  /// The error, if it is an E or derives from one; else null. Valid as long as the outcome.
  template <class E>
  const E* error() const noexcept {
    if (!how_.error()) return nullptr;
    try {
      std::rethrow_exception(how_.error());
    } catch (const E& e) {
      return &e;
    } catch (...) {
      return nullptr;
    }
  }

  std::exception_ptr exception() const noexcept { return how_.error(); }  // Null: it has a value.

 private:
  detail::settled<T> how_;
};

namespace detail {

template <class T>
task<outcome<T>> result_block(frame<T> work) {
  settled<T> how = co_await captured<T>(std::move(work));
  if (is_cancelled(how.error())) std::rethrow_exception(how.error());
  co_return outcome<T>(std::move(how));
}

}  // namespace detail

/// Awaits `work`, a task or an operation, and gives its end as a value. Lets `cancelled` through.
///
/// # Why not try and catch?
/// C++ forbids co_await in a catch block, so a retry loop cannot be written with one.
template <detail::awaitable Work>
auto as_result(Work&& work) {
  return detail::result_block<detail::awaited_t<Work>>(detail::to_frame(std::forward<Work>(work)));
}

}  // namespace coppice
