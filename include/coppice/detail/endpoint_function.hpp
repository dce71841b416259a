// SPDX-License-Identifier: Apache-2.0
// What a function's type says of it as an endpoint: parameters, result, whose member it is.
#pragma once

#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "coppice/detail/codec.hpp"
#include "coppice/fwd.hpp"
#include "coppice/message.hpp"

namespace coppice {
class actor;
template <class D>
class context;
template <class T>
class generator;
template <class S>
struct keywords;

/// What a function's type makes of it as an endpoint.
enum class endpoint_kind : unsigned char {
  call,       // T or task<T>: portal::run().
  context,    // Its first parameter is a context<D>&: portal::open_context().
  generator,  // generator<T>: portal::open_stream_from().
};
}  // namespace coppice

namespace coppice::detail {

template <class R>
struct call_result {
  using type = R;
  static constexpr bool awaited = false;
};
template <class T>
struct call_result<task<T>> {
  using type = T;
  static constexpr bool awaited = true;
};

template <class T>
struct call_result<generator<T>> {
  using type = generator<T>;
  static constexpr bool awaited = false;
};
template <class R>
inline constexpr bool is_generator = false;
template <class T>
inline constexpr bool is_generator<generator<T>> = true;

// A leading actor& or context<D>& is no parameter of the endpoint: the runtime hands it in.
template <class... Param>
struct split_params {
  using params = types<Param...>;
  using dialog = void;
  static constexpr bool takes_actor = false;
  static constexpr bool context_first = false;
};
template <class... Param>
struct split_params<actor&, Param...> : split_params<Param...> {
  static constexpr bool takes_actor = true;
  static constexpr bool context_first = false;
};
template <class D, class... Param>
struct split_params<context<D>&, Param...> : split_params<Param...> {
  static_assert(std::is_void_v<typename split_params<Param...>::dialog>,
                "an endpoint has one context");
  using dialog = D;
  static constexpr bool context_first = true;
};

// A parameter takes its argument by value, const& or &&. It is decoded into the thing itself.
template <class Param>
inline constexpr bool param_is_taken =
    !std::is_lvalue_reference_v<Param> || std::is_const_v<std::remove_reference_t<Param>>;

template <class R, class Params>
struct signature_of;
template <class R, class... Param>
struct signature_of<R, types<Param...>> {
  static_assert(
      (param_is_taken<Param> && ...),
      "a parameter of an endpoint may not be a non-const reference: nobody would see what "
      "is written to it; return a value instead");
  using type = R(std::remove_cvref_t<Param>...);
};
template <class R, class Params>
struct keywords_signature_of;
template <class R, class Param>
struct keywords_signature_of<R, types<Param>> {
  using type = R(keywords<std::remove_cvref_t<Param>>);
};

template <class Object, class R, class... Param>
struct endpoint_function_base {
  using object = Object;  // Whose member it is; void: nobody's.
  using result = typename call_result<R>::type;
  static constexpr bool awaited = call_result<R>::awaited;
  using split = split_params<Param...>;
  static constexpr bool takes_actor = split::takes_actor;
  static constexpr bool context_first = split::context_first;
  using dialog = typename split::dialog;  // void: none.
  using params = typename split::params;
};

template <class F>
struct endpoint_function;  // An endpoint is made from a function or a member function, nothing
                           // else.
template <class R, class... Param, bool N>
struct endpoint_function<R (*)(Param...) noexcept(N)> : endpoint_function_base<void, R, Param...> {
};
template <class C, class R, class... Param, bool N>
struct endpoint_function<R (C::*)(Param...) noexcept(N)> : endpoint_function_base<C, R, Param...> {
};
template <class C, class R, class... Param, bool N>
struct endpoint_function<R (C::*)(Param...) const noexcept(N)>
    : endpoint_function_base<C, R, Param...> {};

template <class F>
using signature_t = typename signature_of<typename endpoint_function<F>::result,
                                          typename endpoint_function<F>::params>::type;
template <class F>
using keywords_signature_t =
    typename keywords_signature_of<typename endpoint_function<F>::result,
                                   typename endpoint_function<F>::params>::type;

template <class F>
using dialog_t = typename endpoint_function<F>::dialog;

/// What a result's type says of whether it can travel.
template <class R>
inline constexpr bool result_travels = std::is_void_v<R> || owned_message<R>;
template <class T>
inline constexpr bool result_travels<generator<T>> = owned_message<T>;

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

}  // namespace coppice::detail
