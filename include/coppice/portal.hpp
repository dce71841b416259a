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
    return detail::typed_call<typename Endpoint::result>(target_, std::string(e.name().text()),
                                                         e.arguments(std::forward<Args>(args)...));
  }
  /// The struct of an as_kwargs endpoint, written in place: `p.run(find, {.text = "oak"})`.
  template <class Endpoint>
    requires requires { typename Endpoint::keywords_type; }
  auto run(const Endpoint& e, const typename Endpoint::keywords_type& fields) const {
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

  /// Stops the actor by its ladder and waits for its end; how it ended.
  task<exit_report> cancel_actor() const { return detail::cancel_target(target_); }

  uid id() const { return detail::target_id(target_); }

 private:
  friend class actor_nursery;
  friend class blocking_portal;
  friend class runtime;
  explicit portal(detail::call_target t) : target_(t) {}
  detail::call_target target_;
};
static_assert(std::is_trivially_copyable_v<portal>);

}  // namespace coppice
