// SPDX-License-Identifier: Apache-2.0
// Sleeps, time limits, and cleanup that waits. All of it on the loop's clock.
#pragma once

#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>

#include "coppice/cancel_scope.hpp"
#include "coppice/clock.hpp"
#include "coppice/detail/limits.hpp"
#include "coppice/detail/sleep_op.hpp"
#include "coppice/task.hpp"

namespace coppice {

/// Waits until `d` has passed on the loop's clock. Nothing or less: a checkpoint.
[[nodiscard("co_await it")]] inline detail::sleep_op sleep_for(duration d) noexcept {
  return detail::sleep_op(detail::sleep_op::kind::span, d, {});
}

/// Waits until the loop's clock shows `t`.
[[nodiscard("co_await it")]] inline detail::sleep_op sleep_until(time_point t) noexcept {
  return detail::sleep_op(detail::sleep_op::kind::point, {}, t);
}

/// Waits until cancelled.
[[nodiscard("co_await it")]] inline detail::sleep_op sleep_forever() noexcept {
  return detail::sleep_op(detail::sleep_op::kind::forever, {}, {});
}

/// Lets every other ready task run once; throws `cancelled` if this one was. For long computations.
[[nodiscard("co_await it")]] inline detail::sleep_op checkpoint() noexcept {
  return sleep_for(duration::zero());
}

/// Runs `work`, a task or an operation, for at most `limit`. Gives its value as an optional, or for
/// task<> whether it finished; empty or false if it was stopped, and then it has ended.
///
///     if (auto reply = co_await move_on_after(2s, ask(server))) use(*reply);
template <detail::awaitable Work>
auto move_on_after(duration limit, Work&& work) {
  return detail::limit<false>(limit, std::forward<Work>(work));
}

/// The same for a whole block, which is given its scope and may cancel it.
///
///     bool finished = co_await move_on_after(5s, [&](cancel_scope& scope) -> task<> { … });
template <detail::scope_body Body>
auto move_on_after(duration limit, Body&& body) {
  return detail::limit_body<false>(limit, std::forward<Body>(body));
}

/// Runs `work` for at most `limit` and gives its value. Throws timeout_error if it was stopped.
///
///     auto reply = co_await fail_after(2s, ask(server));
template <detail::awaitable Work>
auto fail_after(duration limit, Work&& work) {
  return detail::limit<true>(limit, std::forward<Work>(work));
}
template <detail::scope_body Body>
auto fail_after(duration limit, Body&& body) {
  return detail::limit_body<true>(limit, std::forward<Body>(body));
}

struct finally_options {
  duration within = duration::zero();  // REQUIRES: more than zero. The cleanup's time limit.
};

/// Runs `work`, then `cleanup`, however `work` ended: with a value, an error or a cancellation. The
/// cleanup is shielded from cancellation and bounded by `within`; past it, timeout_error. An error
/// of the cleanup is thrown; one of both, as error_group.
///
///     co_await finally(use(conn), {.within = 2s}, say_goodbye(conn));
///
/// # Why not a destructor?
/// C++ cannot wait while it unwinds.
template <detail::awaitable Work, detail::awaitable Cleanup>
auto finally(Work&& work, finally_options options, Cleanup&& cleanup) {
  detail::check(options.within > duration::zero(), "finally() needs a time limit: {.within = 2s}");
  return detail::finally_block<detail::awaited_t<Work>, detail::awaited_t<Cleanup>>(
      detail::to_frame(std::forward<Work>(work)), options.within,
      detail::to_frame(std::forward<Cleanup>(cleanup)));
}

}  // namespace coppice
