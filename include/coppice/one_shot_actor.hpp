// SPDX-License-Identifier: Apache-2.0
// one_shot_actor: an actor that was started for one call, and that call's result.
#pragma once

#include <memory>
#include <utility>

#include "coppice/detail/call.hpp"
#include "coppice/payload.hpp"
#include "coppice/portal.hpp"
#include "coppice/task.hpp"

namespace coppice {

namespace detail {

struct one_shot_state;
struct started_one_shot {
  call_target target;
  std::shared_ptr<one_shot_state> state;  // Shared with the task that collects the result.
};
task<payload> one_shot_result(std::shared_ptr<one_shot_state> state);

}  // namespace detail

/// What run_in_actor() gives. Promises:
/// - When the call has ended, its actor is stopped; the block waits for both.
/// - wait_for_result() gives the result, or throws what the call threw, as often as it is asked.
/// - An error that nobody has taken in that way when the body of the block has ended, is a failure
///   of the block, once the calls of all its one-shots have ended.
///
/// # Why does an untaken error wait for the body's end?
/// It is tractor's rule, and it is the same run after run: whether a body that is about to take the
/// error gets it, or is cancelled by it, does not depend on how fast it is. Nor does it depend on
/// that how many of several errors come out.
///
/// Owner: anybody in the block. Copies share one call. Thread: the loop of the actor that made it.
template <class R>
class one_shot_actor {
 public:
  explicit one_shot_actor(detail::started_one_shot started) : started_(std::move(started)) {}

  /// Waits for the end of the call.
  task<R> wait_for_result() const { return decoded(started_.state); }
  portal actor() const { return portal(started_.target); }

 private:
  static task<R> decoded(std::shared_ptr<detail::one_shot_state> state) {
    payload result = co_await detail::one_shot_result(std::move(state));
    co_return detail::decode_result<R>(std::move(result));
  }
  detail::started_one_shot started_;
};

}  // namespace coppice
