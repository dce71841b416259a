// SPDX-License-Identifier: Apache-2.0
// portal: a handle to a running actor, by which its functions are called.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "coppice/detail/call.hpp"
#include "coppice/detail/dialog_block.hpp"
#include "coppice/endpoint.hpp"
#include "coppice/function_name.hpp"
#include "coppice/kw.hpp"
#include "coppice/task.hpp"
#include "coppice/value.hpp"

namespace coppice {

template <class E>
concept is_endpoint = requires(const E& e) {
  typename E::result;
  typename E::function_type;
  { E::kind } -> std::convertible_to<endpoint_kind>;
  { e.name() } -> std::same_as<function_name>;
};

/// Calls functions in another actor. Trivially copyable: copy it into tasks and lambdas.
///
/// Promises: arguments are encoded before run() returns, so nothing that they refer to has to live
/// longer; a call ends when its reply comes, when the actor dies (actor_died, with its report), or
/// when it is cancelled: then the callee's side is cancelled too and waited for, within a bound.
/// Outliving the actor is legal: calls throw actor_died.
///
///     auto a = co_await p.run(primes::count, 0, 50'000);             // an endpoint: all checked
///     auto b = co_await p.run<int>("m:f", kw("x", 1));               // by name, result type
///     stated value c = co_await p.run("m:f", kw("x", 1));                   // untyped
///
/// Owner: the actor that started the other one; not to be sent elsewhere. Thread: that actor's
/// loop.
class portal {
 public:
  portal() = default;

  /// Calls an endpoint with positional arguments.
  template <class Endpoint, class... Args>
    requires is_endpoint<Endpoint>
  auto run(const Endpoint& e, Args&&... args) const {
    detail::check_kind<Endpoint::kind, endpoint_kind::call>();
    return detail::typed_call<typename Endpoint::result>(target_, std::string(e.name().text()),
                                                         e.arguments(std::forward<Args>(args)...));
  }
  /// The struct of an as_kwargs endpoint, written in place: `p.run(find, {.text = "oak"})`.
  template <class Endpoint>
    requires requires { typename Endpoint::keywords_type; }
  auto run(const Endpoint& e, const typename Endpoint::keywords_type& fields) const {
    detail::check_kind<Endpoint::kind, endpoint_kind::call>();
    return detail::typed_call<typename Endpoint::result>(target_, std::string(e.name().text()),
                                                         e.arguments(fields));
  }
  template <class Endpoint>
    requires(requires { typename Endpoint::keywords_type; } &&
             !safe_temporary<typename Endpoint::keywords_type &&>)
  // g++ 12 destroys this temporary twice: name it on the line before.
  auto run(const Endpoint& e, typename Endpoint::keywords_type&& fields) const = delete;

  /// Calls "module:function" by name with keyword arguments; the result is decoded as R.
  template <class R = value, class... Values>
  auto run(function_name name, const kwarg<Values>&... arguments) const {
    static_assert(std::is_void_v<R> || owned_message<R>,
                  "this type cannot be a result: see the table in coppice/message.hpp");
    return detail::typed_call<R>(target_, std::string(name.text()), to_kwargs(arguments...));
  }

  /// Opens a dialog and runs `body(ctx, first)` with this side of it and the callee's first word:
  ///
  ///     auto result = co_await p.open_context(trade_e, "EURUSD",
  ///         [&](remote_context<trading>& ctx, int session) -> task<> { … });
  ///
  /// - Waits for the first word; the body does not run if an error comes instead of it. When the
  ///   body has ended, its stream is closed, and the callee's result is waited for: values that are
  ///   still on their way are dropped.
  /// - Gives the callee's result as an optional (for void: a bool). Empty: this side had called
  ///   ctx.cancel(), and the callee ended by that. A callee that another actor cancelled throws
  ///   context_cancelled, which names it.
  /// - When the dialog fails, the body is cancelled and the callee's error is thrown.
  /// - When the body fails, or this block is cancelled from outside, the callee is cancelled and
  ///   waited for, at most 500 ms: call_stuck is thrown for one that does not end.
  /// - Failures go before cancellations, whosoever; a failure of the body and another of the callee
  ///   come out together, as an error_group. That the connection or the actor has ended is told
  ///   only if the body did not fail: its error says it, or is the reason.
  template <class Endpoint, class... ArgsAndBody>
    requires is_endpoint<Endpoint>
  auto open_context(const Endpoint& e, ArgsAndBody&&... args_and_body) const {
    detail::check_kind<Endpoint::kind, endpoint_kind::context>();
    return detail::body_last(
        [&]<class Body, class... Args>(Body&& body, Args&&... args) {
          return detail::open_context<typename Endpoint::dialog, typename Endpoint::result>(
              target_, e.name(), e.arguments(std::forward<Args>(args)...),
              std::forward<Body>(body));
        },
        std::forward<ArgsAndBody>(args_and_body)...);
  }
  template <class Endpoint, class Body>
    requires requires { typename Endpoint::keywords_type; }
  auto open_context(const Endpoint& e, const typename Endpoint::keywords_type& fields,
                    Body&& body) const {
    detail::check_kind<Endpoint::kind, endpoint_kind::context>();
    return detail::open_context<typename Endpoint::dialog, typename Endpoint::result>(
        target_, e.name(), e.arguments(fields), std::forward<Body>(body));
  }
  /// By name: `p.open_context<trading, std::string>("market_py:trade", kw("symbol", s), body)`.
  template <class D = any_dialog, class R = value, class... ArgsAndBody>
  auto open_context(function_name name, ArgsAndBody&&... args_and_body) const {
    static_assert(std::is_void_v<R> || owned_message<R>,
                  "this type cannot be a result: see the table in coppice/message.hpp");
    return detail::body_last(
        [&]<class Body, class... Args>(Body&& body, Args&&... args) {
          return detail::open_context<D, R>(target_, name, to_kwargs(args...),
                                            std::forward<Body>(body));
        },
        std::forward<ArgsAndBody>(args_and_body)...);
  }

  /// Runs `body(values)` with the values of a generator, a stream<void, T>, and gives its value:
  ///
  ///     co_await p.open_stream_from(ticks, "EURUSD", [&](stream<void, double>& s) -> task<> {
  ///       while (auto t = co_await s.receive()) show(*t);
  ///     });
  ///
  /// A body that leaves early cancels the generator; all else is as with open_context(). `options`
  /// of the stream go before the arguments, if any.
  template <class Endpoint, class... ArgsAndBody>
    requires(is_endpoint<Endpoint> && !detail::begins_with_options<ArgsAndBody...>)
  auto open_stream_from(const Endpoint& e, ArgsAndBody&&... args_and_body) const {
    return open_stream_from(e, stream_options(), std::forward<ArgsAndBody>(args_and_body)...);
  }
  template <class Endpoint, class... ArgsAndBody>
    requires is_endpoint<Endpoint>
  auto open_stream_from(const Endpoint& e, stream_options options,
                        ArgsAndBody&&... args_and_body) const {
    detail::check_kind<Endpoint::kind, endpoint_kind::generator>();
    return detail::body_last(
        [&]<class Body, class... Args>(Body&& body, Args&&... args) {
          return detail::open_stream<typename Endpoint::result::value_type>(
              target_, e.name(), e.arguments(std::forward<Args>(args)...), options,
              std::forward<Body>(body));
        },
        std::forward<ArgsAndBody>(args_and_body)...);
  }
  template <class T = value, class... ArgsAndBody>
  auto open_stream_from(function_name name, ArgsAndBody&&... args_and_body) const {
    static_assert(owned_message<T>,
                  "this type cannot be received: see the table in coppice/message.hpp");
    return detail::body_last(
        [&]<class Body, class... Args>(Body&& body, Args&&... args) {
          return detail::open_stream<T>(target_, name, to_kwargs(args...), stream_options(),
                                        std::forward<Body>(body));
        },
        std::forward<ArgsAndBody>(args_and_body)...);
  }

  /// Stops the actor by its ladder and waits for its end; how it ended.
  task<exit_report> cancel_actor() const { return detail::cancel_target(target_); }

  uid id() const { return detail::target_id(target_); }

  explicit portal(detail::call_target t) : target_(t) {}  // For the runtime's own code.

 private:
  friend class blocking_portal;
  friend class runtime;
  friend struct found_access;
  detail::call_target target_;
};
static_assert(std::is_trivially_copyable_v<portal>);

}  // namespace coppice
