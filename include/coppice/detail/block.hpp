// SPDX-License-Identifier: Apache-2.0
// Functions that run a body: how the body is kept, called, and its end taken as a value.
#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "coppice/task.hpp"

namespace coppice::detail {

// g++ 12 destroys a lambda's captures twice when the lambda is a temporary in a co_await
// expression.
#if (defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 14) || defined(COPPICE_GUARD_EVERYWHERE)
inline constexpr bool temporaries_end_twice = true;
#else
inline constexpr bool temporaries_end_twice = false;
#endif

/// A body that is a named lambda is referred to; a temporary one is kept in our frame.
template <class F>
class named_body {
 public:
  explicit named_body(F& f) noexcept : f_(&f) {}
  template <class... Args>
  decltype(auto) operator()(Args&... args) {
    return (*f_)(args...);
  }

 private:
  F* f_;
};

template <class Body>
using body_t =
    std::conditional_t<std::is_lvalue_reference_v<Body>, named_body<std::remove_reference_t<Body>>,
                       std::remove_cvref_t<Body>>;

template <class Body>
constexpr void check_body() {
  static_assert(
      std::is_lvalue_reference_v<Body> || !temporaries_end_twice ||
          std::is_trivially_destructible_v<std::remove_cvref_t<Body>>,
      "g++ 12 destroys this lambda's captures twice. Capture by reference, [&], or name the "
      "lambda on the line before");
}

template <class R>
struct task_value {
  using type = R;
};
template <class T>
struct task_value<task<T>> {
  using type = T;
};

/// What a body gives when it is called with these: `T` for task<T>, else its own type.
template <class Body, class... Args>
using body_value_t = typename task_value<std::invoke_result_t<Body&, Args&...>>::type;

/// The coroutine of a body, or how making it failed.
template <class T, class Body, class... Args>
std::optional<frame<T>> make_frame(settled<T>& how, Body& body, Args&... args) noexcept {
  try {
    return std::optional<frame<T>>(take(body(args...)));
  } catch (...) {
    how.fail(std::current_exception());
    return std::nullopt;
  }
}

/// Calls a body that is not a coroutine.
template <class T, class Body, class... Args>
void call_plain(settled<T>& how, Body& body, Args&... args) noexcept {
  try {
    if constexpr (std::is_void_v<T>) {
      body(args...);
      how.emplace();
    } else {
      how.emplace(body(args...));
    }
  } catch (...) {
    how.fail(std::current_exception());
  }
}

}  // namespace coppice::detail
