// SPDX-License-Identifier: Apache-2.0
// actor_nursery: a block that runs tasks and actors, and ends all of them.
#pragma once

#include <concepts>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coppice/actor.hpp"
#include "coppice/nursery.hpp"
#include "coppice/portal.hpp"
#include "coppice/spawn.hpp"

namespace coppice {

namespace detail {

/// The actors of one block: each has a task in `minders` that waits for its end and stops it when
/// the block is cancelled.
class actor_set {
 public:
  explicit actor_set(tree::native_actor& owner) : owner_(owner) {}
  ~actor_set();  // Gives the slots back: portals into them are stale from then on.
  actor_set(const actor_set&) = delete;
  actor_set& operator=(const actor_set&) = delete;

  void mind_in(nursery& minders) { minders_ = &minders; }
  task<call_target> start(std::string_view name, const actor_options& options);
  void stop_all();  // Asks all of them to end.

 private:
  tree::native_actor& owner_;
  nursery* minders_ = nullptr;
  std::vector<call_target> started_;
};

}  // namespace detail

/// Tasks and actors that live and die together. Opened by open_nursery(self, body).
///
/// Promises, beyond those of nursery:
/// - When the block ends, every actor in it has ended too: body and tasks first, then the actors,
///   all at once, each by its ladder.
/// - cancel() asks the actors to end at once, beside the body and the tasks: it waits for neither.
/// - An actor that dies unasked is a failure of the block, even if nobody was calling it.
/// - A start that fails, times out or is cancelled leaves nothing of the actor.
///
///     co_await open_nursery(self, [](actor_nursery& an) -> task<> {
///       portal p = co_await an.start_actor("worker", {.backend = spawn::process});
///       co_await p.run(work, 1);
///     });
///
/// # Why do actors end with the body, where tractor waits for them?
/// A daemon that nobody in the block can reach any more would make the block wait for ever. A block
/// that is to serve until it is cancelled says so: `co_await sleep_forever()`. (Python keeps
/// tractor's rule, for programs that were written for it.)
///
/// Owner: the frame of open_nursery(). Thread: its actor's loop.
class actor_nursery : public nursery {
 public:
  actor_nursery(detail::task_node& parent, std::string name, detail::actor_set* actors)
      : nursery(parent, std::move(name)), actors_(*actors) {}

  /// Starts an actor and waits until it is up: connected, its modules imported. Throws
  /// backend_unavailable, actor_start_error, timeout_error, or remote_actor_error if an import
  /// failed.
  task<portal> start_actor(std::string_view name, actor_options options = {}) {
    return up(detail::take(actors_.start(name, options)));
  }

  void cancel(std::string_view reason = {}) {
    nursery::cancel(reason);
    actors_.stop_all();
  }

 private:
  static task<portal> up(detail::frame<detail::call_target> starting) {
    auto how = co_await detail::captured<detail::call_target>(std::move(starting));
    co_return portal(how.take());
  }
  detail::actor_set& actors_;
};

namespace detail {

template <class T, class Body>
task<T> actor_block(tree::native_actor* owner, Body body) {
  settled<T> how;
  actor_set actors(*owner);  // Outlives the tasks that mind its actors.
  auto run = [&](nursery& minders) -> task<> {
    actors.mind_in(minders);
    auto inner = take(nursery_block<actor_nursery, T, named_body<Body>>(
        named_body<Body>(body), std::string("actors"), &actors));
    how = co_await captured<T>(std::move(inner));
    if (how.error()) std::rethrow_exception(how.error());
    actors.stop_all();
  };
  co_await open_nursery("actor nursery", run);
  co_return how.take();
}

}  // namespace detail

/// Runs `body(actor_nursery&)` in an actor, waits for it, its tasks and its actors, and gives its
/// value.
template <class Body>
  requires std::invocable<Body&, actor_nursery&>
auto open_nursery(actor& self, Body&& body) {
  detail::check_body<Body>();
  return detail::actor_block<detail::body_value_t<Body, actor_nursery>>(
      &self.runtime(), detail::body_t<Body>(std::forward<Body>(body)));
}

}  // namespace coppice
