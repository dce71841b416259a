// SPDX-License-Identifier: Apache-2.0
// How a call that arrived becomes a call of the C++ function, and its result bytes again.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include "coppice/context.hpp"
#include "coppice/detail/arguments.hpp"
#include "coppice/detail/endpoint_function.hpp"
#include "coppice/generator.hpp"
#include "coppice/message.hpp"
#include "coppice/payload.hpp"
#include "coppice/task.hpp"

namespace coppice::detail {

// The actor's own object of that class. A template, so that `actor` may be incomplete here.
template <class C, class Actor>
C& actor_local(Actor& self) {
  return self.template local<C>();
}

// Calls `f` with decoded arguments: before them with what the runtime hands in, as `leading`, and
// on the actor's object if it is a member. By-value parameters get theirs moved in.
template <class F, class Args, class... Leading>
decltype(auto) call_with(F f, actor& self, Args& args, Leading&... leading) {
  using about = endpoint_function<F>;
  return [&]<class... Param>(types<Param...>) -> decltype(auto) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) -> decltype(auto) {
      if constexpr (std::is_void_v<typename about::object>) {
        return f(leading..., static_cast<Param&&>(std::get<I>(args))...);
      } else {
        auto& object = actor_local<typename about::object>(self);
        return (object.*f)(leading..., static_cast<Param&&>(std::get<I>(args))...);
      }
    }(std::index_sequence_for<Param...>());
  }(typename about::params());
}

template <class F, class Args>
decltype(auto) call_endpoint(F f, actor& self, Args& args) {
  if constexpr (endpoint_function<F>::takes_actor) {
    return call_with(f, self, args, self);
  } else {
    return call_with(f, self, args);
  }
}

template <class F, class Args, class Context>
decltype(auto) call_dialog(F f, actor& self, Args& args, Context& ctx) {
  using about = endpoint_function<F>;
  if constexpr (!about::takes_actor) {
    return call_with(f, self, args, ctx);
  } else if constexpr (about::context_first) {
    return call_with(f, self, args, ctx, self);
  } else {
    return call_with(f, self, args, self, ctx);
  }
}

// Runs when it is awaited. `kwargs` is there because views among the arguments point into it.
template <class F, class Args>
task<payload> run_call(F f, actor& self, [[maybe_unused]] payload kwargs, Args args) {
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

template <class F, class Args>
task<payload> run_context(F f, actor& self, [[maybe_unused]] payload kwargs, Args args,
                          dialog_end* end) {
  using about = endpoint_function<F>;
  using result = typename about::result;
  static_assert(about::awaited, "the function of a dialog returns a task");
  context<typename about::dialog> ctx(*end);
  if constexpr (std::is_void_v<result>) {
    co_await call_dialog(f, self, args, ctx);
    co_return payload();
  } else {
    const result r = co_await call_dialog(f, self, args, ctx);
    co_return to_payload(r);
  }
}

template <class F, class Args>
task<payload> run_generator(F f, actor& self, [[maybe_unused]] payload kwargs, Args args,
                            dialog_end* end) {
  using value_type = typename endpoint_function<F>::result::value_type;
  stream<value_type, value> out(*end, stream_options());
  auto values = call_endpoint(f, self, args);
  while (auto v = co_await values.next()) co_await out.send(std::as_const(*v));
  co_return payload();
}

template <class F, class Args>
task<payload> run_endpoint(F f, actor& self, payload kwargs, Args args, dialog_end* end) {
  using about = endpoint_function<F>;
  if constexpr (!std::is_void_v<typename about::dialog>) {
    static_assert(!is_generator<typename about::result>, "a dialog gives one result, not many");
    return run_context(f, self, std::move(kwargs), std::move(args), end);
  } else if constexpr (is_generator<typename about::result>) {
    return run_generator(f, self, std::move(kwargs), std::move(args), end);
  } else {
    return run_call(f, self, std::move(kwargs), std::move(args));
  }
}

}  // namespace coppice::detail
