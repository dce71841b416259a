// SPDX-License-Identifier: Apache-2.0
// What a nursery of actors does when one of them dies: strategies, limits, and the error past them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "coppice/clock.hpp"
#include "coppice/endpoint.hpp"
#include "coppice/errors.hpp"
#include "coppice/function_name.hpp"
#include "coppice/kw.hpp"
#include "coppice/payload.hpp"

namespace coppice {

/// Who is started again when an actor of the nursery has died.
///
/// # Why not Erlang's one_for_all?
/// The tasks and the body of the block belong to such a group as much as its actors: they hold
/// portals and half-done work of theirs, and no supervisor can begin them anew. A loop around an
/// open_nursery() that cancels all does, with what the loop's author knows.
enum class restart_strategy : std::uint8_t {
  one_cancels_all,  // Nobody: the block fails.
  one_for_one,      // The one that died.
  rest_for_one,     // It, and those that were started after it, which may depend on it.
};

/// Which ends of an actor lead to a restart, where the nursery's strategy restarts at all. An end
/// that was asked for, by cancel_actor() or the block's end, never does.
enum class restart_type : std::uint8_t {
  transient,  // Deaths: it ended by a fault.
  permanent,  // Every end.
  temporary,  // None; nor is its death a failure of the block.
};

/// The pause before a restart: `first`, then each time `factor` times as long, at most `longest`.
/// An actor that has been up for `restart_policy::within` begins with `first` again.
struct restart_pause {
  duration first = std::chrono::milliseconds(50);
  double factor = 2;  // REQUIRES: at least 1.
  duration longest = std::chrono::seconds(5);
};

/// What a nursery does about deaths. As with Erlang/OTP's supervisors, more than `restarts_max`
/// restarts within any `within` end the whole nursery, with restart_limit_exceeded. A death counts
/// once, however many are started again for it; a restart that fails is the next death.
///
///     co_await open_nursery(
///         self, {.restart = {.strategy = restart_strategy::one_for_one}}, body);
struct restart_policy {
  restart_strategy strategy = restart_strategy::one_cancels_all;
  std::size_t restarts_max = 3;
  duration within = std::chrono::seconds(10);
  restart_pause pause = {};
};
static_assert(std::is_trivially_destructible_v<restart_policy>);

/// A call that every incarnation of an actor answers before it is up. Made by init().
///
/// Owner: whoever holds it; owns its arguments. Thread: any.
class init_call {
 public:
  init_call() = default;  // None.
  init_call(function_name name, payload arguments)
      : name_(name.text()), arguments_(std::move(arguments)) {}

  explicit operator bool() const noexcept { return !name_.empty(); }
  const std::string& name() const noexcept { return name_; }
  const payload& arguments() const noexcept { return arguments_; }

 private:
  std::string name_;
  payload arguments_;
};

/// The first call of every incarnation, by endpoint or by name:
///
///     co_await an.start_actor("feed", options, init(feeds::open, "EURUSD"));
///     co_await an.start_actor("feed", options, init("feed_py:open", kw("symbol", "EURUSD")));
template <class Endpoint, class... Args>
  requires requires { typename Endpoint::result; }
init_call init(const Endpoint& e, Args&&... args) {
  static_assert(Endpoint::kind == endpoint_kind::call, "init() takes a function that is called");
  return init_call(e.name(), e.arguments(std::forward<Args>(args)...));
}
template <class... Values>
init_call init(function_name name, const kwarg<Values>&... arguments) {
  return init_call(name, to_kwargs(arguments...));
}

}  // namespace coppice
