// SPDX-License-Identifier: Apache-2.0
// Arguments of started tasks: converted to the parameters' types at the start, owned by the task.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "coppice/task.hpp"

namespace coppice::detail {

template <class... P>
struct type_list {
  static constexpr std::size_t size = sizeof...(P);
};

// The parameter types of a callable, read from its one signature. A generic lambda or an overloaded
// call operator has none to read: `known` is false, and arguments are kept as decayed copies.
template <class F, class = void>
struct signature {
  static constexpr bool known = false;
};

template <class... P>
struct known_signature {
  static constexpr bool known = true;
  using params = type_list<P...>;
};

template <class R, class... P>
struct signature<R (*)(P...)> : known_signature<P...> {};
template <class R, class... P>
struct signature<R (*)(P...) noexcept> : known_signature<P...> {};

template <class M>
struct call_operator {
  static constexpr bool known = false;
};
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...)> : known_signature<P...> {};
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...) const> : known_signature<P...> {};
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...) noexcept> : known_signature<P...> {};
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...) const noexcept> : known_signature<P...> {};

template <class F>
struct signature<F, std::void_t<decltype(&F::operator())>>
    : call_operator<decltype(&F::operator())> {};

// A member function takes its object first: std::ref(object), or a pointer to it.
template <class R, class C, class... P>
struct signature<R (C::*)(P...)> : known_signature<C&, P...> {};
template <class R, class C, class... P>
struct signature<R (C::*)(P...) const> : known_signature<const C&, P...> {};

template <class T>
struct is_ref_wrapper : std::false_type {};
template <class T>
struct is_ref_wrapper<std::reference_wrapper<T>> : std::true_type {};

/// How an argument of type A (forwarded) is kept for a parameter of type P.
template <class P, class A>
struct kept {
  using bare = std::remove_cvref_t<P>;
  using given = std::remove_cvref_t<A>;
  static constexpr bool shared =
      is_ref_wrapper<given>::value && std::is_lvalue_reference_v<P> && !is_ref_wrapper<bare>::value;
  static constexpr bool pointee =  // &object for a member function
      std::is_pointer_v<std::decay_t<A>> && std::is_lvalue_reference_v<P> &&
      std::is_class_v<bare> &&
      std::is_convertible_v<std::decay_t<A>, std::add_pointer_t<std::remove_reference_t<P>>>;
  static constexpr bool writes =
      std::is_lvalue_reference_v<P> && !std::is_const_v<std::remove_reference_t<P>>;
  static_assert(
      shared || pointee || !writes,
      "this task changes its argument in place: pass std::ref(x) to share x, or take it by "
      "value");

  // A view's characters may be gone before the task first runs, so it views our own string.
  using stored = std::conditional_t<
      shared, given,
      std::conditional_t<
          pointee, std::decay_t<A>,
          std::conditional_t<std::is_same_v<bare, std::string_view>, std::string, bare>>>;

  static P pass(stored& s) {
    if constexpr (shared) {
      return s.get();
    } else if constexpr (pointee) {
      return *s;
    } else if constexpr (std::is_lvalue_reference_v<P> || std::is_same_v<bare, std::string_view>) {
      return s;
    } else {
      return std::move(s);
    }
  }
};

// Of a callable whose parameters cannot be read.
template <class A>
struct kept_decayed {
  using stored = std::decay_t<A>;
  static decltype(auto) pass(stored& s) {
    if constexpr (is_ref_wrapper<stored>::value) {
      return (s.get());
    } else {
      return std::move(s);
    }
  }
};

/// One task's function and arguments, and the call that makes its coroutine. With `with_status`,
/// the last argument is a task_status that whoever makes the task fills in.
template <bool with_status, class Fn, class... Kept>
class bound_call {
 public:
  static constexpr bool wants_status = with_status;

  template <class F, class... A>
  explicit bound_call(F&& fn, A&&... args)
      : fn_(std::forward<F>(fn)), args_(convert<Kept>(std::forward<A>(args))...) {}

  decltype(auto) operator()() {
    return std::apply([this](auto&... stored) { return std::invoke(fn_, Kept::pass(stored)...); },
                      args_);
  }

  auto& last_argument() noexcept { return std::get<sizeof...(Kept) - 1>(args_); }

 private:
  template <class K, class A>
  static typename K::stored convert(A&& a) {
    // The conversion is the caller's: what a call with this argument would do.
    return static_cast<typename K::stored>(std::forward<A>(a));
  }

  Fn fn_;
  std::tuple<typename Kept::stored...> args_;
};

template <class T>
struct is_status : std::false_type {};
template <class T>
struct is_status<task_status<T>> : std::true_type {
  using status_value = T;
};

template <class Params>
struct last_of {
  using type = void;
};
template <class... P>
  requires(sizeof...(P) > 0)
struct last_of<type_list<P...>> {
  using type = std::remove_cvref_t<std::tuple_element_t<sizeof...(P) - 1, std::tuple<P...>>>;
};

/// What can be read of a callable: its parameters, and the task_status<T> that it takes last.
template <class Fn, bool known = signature<std::decay_t<Fn>>::known>
struct callable {
  static constexpr bool takes_status = false;
  static constexpr std::size_t arity = 0;
};
template <class Fn>
struct callable<Fn, true> {
  using params = typename signature<std::decay_t<Fn>>::params;
  using last = typename last_of<params>::type;
  static constexpr bool takes_status = is_status<last>::value;
  static constexpr std::size_t arity = params::size;
};

template <bool with_status, class Fn, class Params, class Given>
struct bind_types;
template <bool with_status, class Fn, class... P, class... A>
struct bind_types<with_status, Fn, type_list<P...>, type_list<A...>> {
  using type = bound_call<with_status, Fn, kept<P, A>...>;
};

/// The bound_call of `fn(args...)`.
template <bool with_status, class Fn, class... A>
constexpr auto bound_type() {
  using F = std::decay_t<Fn>;
  static_assert(
      std::is_trivially_copyable_v<F>,
      "a task outlives the expression that starts it, so its lambda may not own what it captures: "
      "pass values as arguments instead, start_soon([](std::string s) -> task<> {…}, s)");
  if constexpr (signature<F>::known) {
    using params = typename signature<F>::params;
    static_assert(params::size == sizeof...(A),
                  "the task's function takes another number of arguments than it is given here");
    return std::type_identity<typename bind_types<with_status, F, params, type_list<A...>>::type>{};
  } else {
    return std::type_identity<bound_call<with_status, F, kept_decayed<A>...>>{};
  }
}

template <bool with_status, class Fn, class... A>
using bound_t = typename decltype(bound_type<with_status, Fn, A...>())::type;

}  // namespace coppice::detail
