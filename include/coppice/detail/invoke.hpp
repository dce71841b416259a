// SPDX-License-Identifier: Apache-2.0
// How a call that arrived becomes a call of the C++ function, and its result bytes again.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include "coppice/detail/arguments.hpp"
#include "coppice/detail/endpoint_function.hpp"
#include "coppice/message.hpp"
#include "coppice/payload.hpp"
#include "coppice/task.hpp"

namespace coppice::detail {

// The actor's own object of that class. A template, so that `actor` may be incomplete here.
template <class C, class Actor>
C& actor_local(Actor& self) {
  return self.template local<C>();
}

// Calls `f` with decoded arguments: with the actor if it asks for it, on the actor's object if it
// is a member. By-value parameters get theirs moved in.
template <class F, class Args>
decltype(auto) call_endpoint(F f, actor& self, Args& args) {
  using about = endpoint_function<F>;
  return [&]<class... Param>(types<Param...>) -> decltype(auto) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) -> decltype(auto) {
      if constexpr (std::is_void_v<typename about::object>) {
        if constexpr (about::takes_actor) {
          return f(self, static_cast<Param&&>(std::get<I>(args))...);
        } else {
          return f(static_cast<Param&&>(std::get<I>(args))...);
        }
      } else {
        auto& object = actor_local<typename about::object>(self);
        if constexpr (about::takes_actor) {
          return (object.*f)(self, static_cast<Param&&>(std::get<I>(args))...);
        } else {
          return (object.*f)(static_cast<Param&&>(std::get<I>(args))...);
        }
      }
    }(std::index_sequence_for<Param...>());
  }(typename about::params());
}

// Runs when it is awaited. `kwargs` is there because views among the arguments point into it.
template <class F, class Args>
task<payload> run_endpoint(F f, actor& self, [[maybe_unused]] payload kwargs, Args args) {
  using about = endpoint_function<F>;
  using result = typename about::result;
  if constexpr (about::awaited && std::is_void_v<result>) {
    co_await call_endpoint(f, self, args);
    co_return payload();
  } else if constexpr (about::awaited) {
    const result r = co_await call_endpoint(f, self, args);
    co_return to_payload(r);
  } else if constexpr (std::is_void_v<result>) {
    call_endpoint(f, self, args);
    co_return payload();
  } else {
    const result r = call_endpoint(f, self, args);
    co_return to_payload(r);
  }
}

}  // namespace coppice::detail
