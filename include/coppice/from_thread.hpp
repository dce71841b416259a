// SPDX-License-Identifier: Apache-2.0
// from_thread: what the work of to_thread() may ask of the loop that waits for it.
#pragma once

#include <type_traits>
#include <utility>

#include "coppice/detail/thread_request.hpp"

/// Called by the work of to_thread(), on its thread. The loop that started it runs what it is
/// given, inside that call: in its task, its cancel scopes and its place of the task tree.
///
///     co_await to_thread<on_cancel::wait>([&] {
///       for (const auto& file : files) {
///         from_thread::check_cancelled();
///         const auto digest = hash(file);
///         from_thread::run([&]() -> task<> { co_await results.send(digest); });
///       }
///     });
///
/// Promises:
/// - run() and run_sync() block until the function has ended on the loop's thread, and give what it
///   returns or throw what it throws. They refer to their arguments, which wait here meanwhile.
/// - If the call of to_thread() is cancelled, so is what run() runs, which hears of it at its next
///   checkpoint; then `cancelled` is thrown here.
/// - Once the call was abandoned, all three throw `cancelled`, whatever became of the loop. Nobody
///   is left waiting.
/// - On another thread than one of to_thread(), and on a thread that runs a loop, they throw
///   `error`.
///
/// # Why not post to the loop?
/// What is posted belongs to nobody: no scope cancels it, and its error has nowhere to go.
namespace coppice::from_thread {

/// Runs `fn(args...)`, which returns a task, on the loop.
template <class Fn, class... Args>
auto run(Fn&& fn, Args&&... args) {
  static_assert(detail::is_task<std::invoke_result_t<Fn, Args...>>::value,
                "from_thread::run() runs a function that returns a task; for any other there is "
                "from_thread::run_sync()");
  return detail::ask_and_take(std::forward<Fn>(fn), std::forward<Args>(args)...);
}

/// Calls `fn(args...)`, which must not block, on the loop's thread. No checkpoint: it is called
/// also after a cancellation for which the work is waited.
template <class Fn, class... Args>
auto run_sync(Fn&& fn, Args&&... args) {
  static_assert(!detail::is_task<std::invoke_result_t<Fn, Args...>>::value,
                "this function returns a task, which run_sync() would not run: use "
                "from_thread::run()");
  return detail::ask_and_take(std::forward<Fn>(fn), std::forward<Args>(args)...);
}

/// Throws `cancelled` if the call of to_thread() was cancelled. Costs one look at an atomic.
void check_cancelled();

}  // namespace coppice::from_thread
