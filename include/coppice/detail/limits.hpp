// SPDX-License-Identifier: Apache-2.0
// The coroutines behind move_on_after(), fail_after() and finally().
#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "coppice/cancel_scope.hpp"
#include "coppice/clock.hpp"
#include "coppice/detail/block.hpp"
#include "coppice/task.hpp"

namespace coppice::detail {

/// `now + d`, or max() if that is beyond the end of time.
inline time_point after(time_point now, duration d) noexcept {
  return d >= time_point::max() - now ? time_point::max() : now + d;
}

scope_spec limit_spec(const char* function, time_point now, duration limit);
[[noreturn]] void throw_timeout(const cancel_scope& scope);
[[noreturn]] void throw_cleanup_failure(std::exception_ptr work, std::exception_ptr cleanup);
std::exception_ptr cleanup_timeout(duration within);

template <class T>
using limited_t =
    std::conditional_t<std::is_void_v<T>, bool, std::optional<typename settled<T>::stored>>;

/// Work that is given as a coroutine that has not begun.
template <class T>
class given_work {
 public:
  explicit given_work(frame<T> f) noexcept : frame_(std::move(f)) {}
  std::optional<frame<T>> begin(settled<T>&, cancel_scope&) noexcept {
    return std::optional<frame<T>>(std::move(frame_));
  }

 private:
  frame<T> frame_;
};

/// Work that is a body, called with the scope.
template <class T, class Body>
class body_work {
 public:
  explicit body_work(Body b) : body_(std::move(b)) {}
  std::optional<frame<T>> begin(settled<T>& how, cancel_scope& scope) noexcept {
    return make_frame<T>(how, body_, scope);
  }

 private:
  Body body_;
};

/// Runs work in a scope with a deadline. `fails`: throws timeout_error instead of moving on.
template <class T, bool fails, class Work>
task<std::conditional_t<fails, T, limited_t<T>>> limit_work(duration limit, Work work) {
  task_node& self = co_await this_task{};
  cancel_scope scope(self,
                     limit_spec(fails ? "fail_after" : "move_on_after", self.loop.now(), limit));
  settled<T> how;
  std::optional<frame<T>> inner = work.begin(how, scope);
  if (inner) how = co_await captured<T>(std::move(*inner));
  const bool stopped = scope.absorbs(how.error());
  if (!stopped && how.error()) std::rethrow_exception(how.error());
  if constexpr (fails) {
    if (stopped) throw_timeout(scope);
    if constexpr (!std::is_void_v<T>) co_return how.take();
  } else if constexpr (std::is_void_v<T>) {
    co_return !stopped;
  } else {
    limited_t<T> result;
    if (!stopped) result.emplace(std::move(how.value()));
    co_return result;
  }
}

template <bool fails, awaitable W>
auto limit(duration d, W&& work) {
  using T = awaited_t<W>;
  return limit_work<T, fails>(d, given_work<T>(to_frame(std::forward<W>(work))));
}

template <class Body>
concept scope_body = std::invocable<std::remove_reference_t<Body>&, cancel_scope&>;

template <bool fails, class Body>
auto limit_body(duration d, Body&& body) {
  check_body<Body>();
  using result = std::invoke_result_t<std::remove_reference_t<Body>&, cancel_scope&>;
  static_assert(is_task<result>::value,
                "a body without co_await cannot be stopped by a time limit: return task<> from it");
  using T = typename result::value_type;
  return limit_work<T, fails>(d,
                              body_work<T, body_t<Body>>(body_t<Body>(std::forward<Body>(body))));
}

template <class T, class U>
task<T> finally_block(frame<T> work, duration within, frame<U> cleanup) {
  task_node& self = co_await this_task{};
  settled<T> how = co_await captured<T>(std::move(work));
  settled<U> cleaned;
  {
    cancel_scope shield(
        self, {.name = "cleanup", .deadline = after(self.loop.now(), within), .shield = true});
    cleaned = co_await captured<U>(std::move(cleanup));
    if (shield.absorbs(cleaned.error())) cleaned.fail(cleanup_timeout(within));
  }
  if (cleaned.error()) throw_cleanup_failure(how.error(), cleaned.error());
  co_return how.take();
}

}  // namespace coppice::detail
