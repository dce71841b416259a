// SPDX-License-Identifier: Apache-2.0
// to_thread: work that blocks, on a thread beside the loop, awaited like anything else.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "coppice/capacity_limiter.hpp"
#include "coppice/detail/thread_work.hpp"
#include "coppice/task.hpp"
#include "coppice/text.hpp"

namespace coppice {

struct to_thread_options {
  capacity_limiter* limiter = nullptr;  // Null: thread_limiter(), which the loop has.
  text name = {};  // For dumps, and for `top -H` as "work/<name>". Empty: the function's.
};
static_assert(std::is_trivially_destructible_v<to_thread_options>);

/// Runs `fn(args...)`, which may block, on a thread, while the loop goes on; gives what it returns
/// or throws what it throws. What a cancellation does is said in the call, for there is no default
/// that is right for both:
///
///     auto rows = co_await to_thread<on_cancel::wait>(query, std::ref(db), "select 1");
///     auto host = co_await to_thread<on_cancel::abandon>(resolve, "example.org");
///     co_await to_thread<on_cancel::wait>({.limiter = &disk, .name = "pack"}, pack, folder);
///
/// Promises:
/// - It is a checkpoint on every call. Cancelled before its work begins, the work never begins.
/// - on_cancel::wait: once it has begun, a cancellation does not end the call; the work may ask
///   from_thread::check_cancelled(). What it returns is not lost, and the next checkpoint throws.
/// - on_cancel::abandon: a cancellation ends the call at once. The work goes on in *quarantine*:
///   counted and shown, with its name and since when, in the loop's task tree and in its runtime's
///   list, until it returns. What it returns is destroyed on its thread, what it throws is dropped.
/// - Arguments are converted to the parameters' types in this call, and owned by the work. With
///   `wait`, std::ref, pointers and captures may share what outlives the call; with `abandon` they
///   do not compile, for the work may outlive everything.
/// - A token of the limiter is held for as long as the thread is busy, by abandoned work too. The
///   limiter may end before such work returns.
/// - Threads (`coppice-work`) are kept for some seconds and used again; those of abandoned work are
///   not. None is left when the run of a loop, or the runtime that a loop belongs to, has ended,
///   but those in quarantine: the program then ends by coppice::leave().
/// - While work that is awaited runs, virtual time stands still, and waiting is no deadlock.
///
/// Throws `error` if there is no thread to be had.
///
/// # Why not std::async, or a thread in your code?
/// Its destructor blocks the loop; nothing limits how many there are; and after a cancellation
/// nobody knows whether it still runs, or on what.
///
/// Thread: its loop's.
template <on_cancel policy, class Fn, class... Args>
  requires(!std::is_same_v<std::remove_cvref_t<Fn>, to_thread_options>)
auto to_thread(Fn&& fn, Args&&... args) {
  return detail::thread_block(detail::make_thread_work<policy>(nullptr, {}, std::forward<Fn>(fn),
                                                               std::forward<Args>(args)...));
}
template <on_cancel policy, class Fn, class... Args>
auto to_thread(const to_thread_options& options, Fn&& fn, Args&&... args) {
  return detail::thread_block(detail::make_thread_work<policy>(
      options.limiter, options.name.view(), std::forward<Fn>(fn), std::forward<Args>(args)...));
}
// Say what a cancellation does: to_thread<on_cancel::wait>(…) or to_thread<on_cancel::abandon>(…).
template <class Fn, class... Args>
void to_thread(Fn&& fn, Args&&... args) = delete;

inline constexpr std::size_t thread_tokens_default = 40;

/// The limiter of calls of to_thread() that name none: one per loop, of thread_tokens_default
/// tokens until you set another total. Throws `error` outside of a loop.
capacity_limiter& thread_limiter();

}  // namespace coppice
