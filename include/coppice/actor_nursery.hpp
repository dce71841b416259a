// SPDX-License-Identifier: Apache-2.0
// actor_nursery: a block that runs tasks and actors, and ends all of them.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "coppice/actor.hpp"
#include "coppice/nursery.hpp"
#include "coppice/one_shot_actor.hpp"
#include "coppice/portal.hpp"
#include "coppice/restart.hpp"
#include "coppice/spawn.hpp"
#include "coppice/stop.hpp"

namespace coppice {

/// How an actor of a block ended; of one that was started again, each incarnation.
struct actor_exit {
  uid actor;
  exit_report report;

  std::string to_text() const;  // One line, with what it was stopped by and how long that took.
};

struct nursery_options {
  restart_policy restart = {};
  /// Gets them as they come: to read them when the block is over, however it ended. The caller's,
  /// and there for as long as the block.
  std::vector<actor_exit>* exits = nullptr;
};
static_assert(std::is_trivially_destructible_v<nursery_options>);

namespace detail {

/// The actors of one block: each has a task in `minders` that waits for its end and stops it when
/// the block is cancelled.
class actor_set {
 public:
  actor_set(tree::native_actor& owner, const nursery_options& options);
  ~actor_set();  // Gives the slots back: portals into them are stale from then on.
  actor_set(const actor_set&) = delete;
  actor_set& operator=(const actor_set&) = delete;

  void mind_in(nursery& minders);
  task<call_target> start(std::string_view name, const actor_options& options, init_call first);
  task<started_one_shot> start_one_shot(nursery& tasks, std::string_view name,
                                        const actor_options& options, function_name function,
                                        payload arguments);
  task<call_target> find(std::string_view name, duration within);
  std::size_t restart_count(std::string_view name) const;
  const std::vector<actor_exit>& exits() const;
  void body_ended();  // Nobody can take results of one-shots any more.
  void stop_all();    // Asks all of them to end.

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace detail

/// Tasks and actors that live and die together. Opened by open_nursery(self, body).
///
/// Promises, beyond those of nursery:
/// - When the block ends, every actor in it has ended too: body and tasks first, then the actors,
///   all at once, each by its ladder.
/// - cancel() asks the actors to end at once, beside the body and the tasks: it waits for neither.
/// - An actor that dies unasked is a failure of the block, even if nobody was calling it; or it is
///   started again, if the block was opened with a restart_policy that says so.
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

  /// Starts an actor and waits until it is up: connected, its modules imported, the call of init()
  /// answered. Throws backend_unavailable, actor_start_error, timeout_error, or remote_actor_error
  /// if an import or that call failed.
  task<coppice::portal> start_actor(std::string_view name, actor_options options = {},
                                    init_call first = {}) {
    return up(detail::take(actors_.start(name, options, std::move(first))));
  }

  /// The present incarnation of the actor of that name, of several the one started last. A portal
  /// belongs to one incarnation and dies with it. Waits while there is none; throws timeout_error
  /// at `within`, actor_died if it is over, `error` if none of that name was started here, or not
  /// among the last exits_kept_max that are over.
  task<coppice::portal> portal(std::string_view name, duration within = std::chrono::seconds(10)) {
    return up(detail::take(actors_.find(name, within)));
  }
  /// How often it was started again; 0 if there is none of that name.
  std::size_t restart_count(std::string_view name) const { return actors_.restart_count(name); }

  /// How each actor that has ended did, in the order of their ends: by which rung of its ladder,
  /// and how long that took; one that was abandoned is `reclaimed` from when its code comes back.
  /// Also those that ended while they started, but not those that never began. The last
  /// exits_kept_max of them: a block may start actors for years. Of so many do portals say how they
  /// ended, too; older ones only that they did.
  const std::vector<actor_exit>& exits() const { return actors_.exits(); }
  static constexpr std::size_t exits_kept_max = 1024;

  /// An actor for one call: starts it, and calls the function there. Never restarted.
  ///
  ///     auto sum = co_await an.run_in_actor("adder", {}, sums::add, 1, 2);
  ///     int n = co_await sum.wait_for_result();
  template <class Endpoint, class... Args>
    requires is_endpoint<Endpoint>
  auto run_in_actor(std::string_view name, actor_options options, const Endpoint& e,
                    Args&&... args) {
    detail::check_kind<Endpoint::kind, endpoint_kind::call>();
    return running<typename Endpoint::result>(detail::take(actors_.start_one_shot(
        *this, name, options, e.name(), e.arguments(std::forward<Args>(args)...))));
  }
  template <class R = value, class... Values>
  auto run_in_actor(std::string_view name, actor_options options, function_name function,
                    const kwarg<Values>&... arguments) {
    static_assert(std::is_void_v<R> || owned_message<R>,
                  "this type cannot be a result: see the table in coppice/message.hpp");
    return running<R>(detail::take(
        actors_.start_one_shot(*this, name, options, function, to_kwargs(arguments...))));
  }

  void cancel(std::string_view reason = {}) {
    nursery::cancel(reason);
    actors_.stop_all();
  }

 private:
  static task<coppice::portal> up(detail::frame<detail::call_target> starting) {
    auto how = co_await detail::captured<detail::call_target>(std::move(starting));
    co_return coppice::portal(how.take());
  }
  template <class R>
  static task<one_shot_actor<R>> running(detail::frame<detail::started_one_shot> starting) {
    auto how = co_await detail::captured<detail::started_one_shot>(std::move(starting));
    co_return one_shot_actor<R>(how.take());
  }
  detail::actor_set& actors_;
};

namespace detail {

/// The body, with a word to the actors when it has ended.
template <class T, class Body>
task<T> body_of_actors(Body* body, actor_set* actors, actor_nursery* an) {
  settled<T> how;
  if constexpr (is_task<std::invoke_result_t<Body&, actor_nursery&>>::value) {
    std::optional<frame<T>> inner = make_frame<T>(how, *body, *an);
    if (inner) how = co_await captured<T>(std::move(*inner));
  } else {
    call_plain<T>(how, *body, *an);
  }
  actors->body_ended();
  co_return how.take();
}

template <class T, class Body>
task<T> actor_block(tree::native_actor* owner, nursery_options options, Body body) {
  settled<T> how;
  actor_set actors(*owner, options);  // Outlives the tasks that mind its actors.
  auto whole = [&](actor_nursery& an) { return body_of_actors<T>(&body, &actors, &an); };
  auto run = [&](nursery& minders) -> task<> {
    actors.mind_in(minders);
    auto inner = take(nursery_block<actor_nursery, T, named_body<decltype(whole)>>(
        named_body<decltype(whole)>(whole), std::string("actors"), &actors));
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
      &self.runtime(), nursery_options(), detail::body_t<Body>(std::forward<Body>(body)));
}
template <class Body>
  requires std::invocable<Body&, actor_nursery&>
auto open_nursery(actor& self, nursery_options options, Body&& body) {
  detail::check_body<Body>();
  return detail::actor_block<detail::body_value_t<Body, actor_nursery>>(
      &self.runtime(), options, detail::body_t<Body>(std::forward<Body>(body)));
}

}  // namespace coppice
