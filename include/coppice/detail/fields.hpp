// SPDX-License-Identifier: Apache-2.0
// The fields of a plain aggregate: how many, of which types, and their names, without a macro.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace coppice::detail {

// How it works. Counting: T{any, any, …} compiles up to the number of fields. References: a
// structured binding of that many names. Names: the address of a field of an object that is only
// declared is a template argument, and the compiler prints it in __PRETTY_FUNCTION__. Works on
// g++ 12.2 and clang 19; nothing of it is left in the program but the names.

inline constexpr std::size_t fields_max = 32;

struct any_field {
  template <class U>
  operator U() const noexcept;  // Never defined: only asked whether it would compile.
};
template <class T>
struct any_base_of {
  template <class U>
    requires(std::is_base_of_v<U, T> && !std::is_same_v<U, T>)
  operator U() const noexcept;
};
template <std::size_t>
using any_field_at = any_field;

template <class T, std::size_t... I>
consteval bool braces_take(std::index_sequence<I...>) {
  return requires { T{any_field_at<I>{}...}; };
}
// The same with `{}` in place I: an array field then takes one initialiser instead of all of its.
template <class T, std::size_t... Before, std::size_t... After>
consteval bool braces_take_empty(std::index_sequence<Before...>, std::index_sequence<After...>) {
  return requires { T{any_field_at<Before>{}..., {}, any_field_at<After>{}...}; };
}
template <class T, std::size_t N = 0>
consteval std::size_t count_fields() {
  if constexpr (N > fields_max || !braces_take<T>(std::make_index_sequence<N + 1>())) {
    return N;
  } else {
    return count_fields<T, N + 1>();
  }
}
template <class T, std::size_t N, std::size_t... I>
consteval bool no_array_among(std::index_sequence<I...>) {
  return (
      braces_take_empty<T>(std::make_index_sequence<I>(), std::make_index_sequence<N - I - 1>()) &&
      ...);
}

template <class T>
consteval bool is_plain_aggregate() {
  if constexpr (!std::is_class_v<T> || !std::is_aggregate_v<T>) {
    return false;
  } else if constexpr (!requires { T{}; } || requires { T{any_base_of<T>{}}; }) {
    return false;
  } else if constexpr (count_fields<T>() > fields_max) {
    return false;
  } else {
    return no_array_among<T, count_fields<T>()>(std::make_index_sequence<count_fields<T>()>());
  }
}

/// A struct that the reflecting codec can take apart: an aggregate, default-constructible, without
/// base classes, C arrays (use std::array) and more than 32 fields.
template <class T>
concept plain_aggregate = is_plain_aggregate<T>();

template <class T>
inline constexpr std::size_t field_count = count_fields<T>();

// Structured bindings know no packs: each number of fields is written out.
template <std::size_t N, class T>
constexpr auto tie_few(T& from) noexcept {
  if constexpr (N == 0) {
    return std::tuple<>();
  } else if constexpr (N == 1) {
    auto& [a] = from;
    return std::tie(a);
  } else if constexpr (N == 2) {
    auto& [a, b] = from;
    return std::tie(a, b);
  } else if constexpr (N == 3) {
    auto& [a, b, c] = from;
    return std::tie(a, b, c);
  } else if constexpr (N == 4) {
    auto& [a, b, c, d] = from;
    return std::tie(a, b, c, d);
  } else if constexpr (N == 5) {
    auto& [a, b, c, d, e] = from;
    return std::tie(a, b, c, d, e);
  } else if constexpr (N == 6) {
    auto& [a, b, c, d, e, f] = from;
    return std::tie(a, b, c, d, e, f);
  } else if constexpr (N == 7) {
    auto& [a, b, c, d, e, f, g] = from;
    return std::tie(a, b, c, d, e, f, g);
  } else if constexpr (N == 8) {
    auto& [a, b, c, d, e, f, g, h] = from;
    return std::tie(a, b, c, d, e, f, g, h);
  } else if constexpr (N == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = from;
    return std::tie(a, b, c, d, e, f, g, h, i);
  } else if constexpr (N == 10) {
    auto& [a, b, c, d, e, f, g, h, i, j] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j);
  } else if constexpr (N == 11) {
    auto& [a, b, c, d, e, f, g, h, i, j, k] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k);
  } else if constexpr (N == 12) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l);
  } else if constexpr (N == 13) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m);
  } else if constexpr (N == 14) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n);
  } else if constexpr (N == 15) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o);
  } else if constexpr (N == 16) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
  }
}
template <std::size_t N, class T>
constexpr auto tie_many(T& from) noexcept {
  if constexpr (N == 17) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q);
  } else if constexpr (N == 18) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r);
  } else if constexpr (N == 19) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s);
  } else if constexpr (N == 20) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t);
  } else if constexpr (N == 21) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u);
  } else if constexpr (N == 22) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v);
  } else if constexpr (N == 23) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w);
  } else if constexpr (N == 24) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x);
  } else if constexpr (N == 25) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y);
  } else if constexpr (N == 26) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z);
  } else if constexpr (N == 27) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z,
                    A);
  } else if constexpr (N == 28) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B] =
        from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A,
                    B);
  } else if constexpr (N == 29) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B, C] =
        from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A,
                    B, C);
  } else if constexpr (N == 30) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B, C,
           D] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A,
                    B, C, D);
  } else if constexpr (N == 31) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B, C, D,
           E] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A,
                    B, C, D, E);
  } else if constexpr (N == 32) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B, C, D,
           E, F] = from;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A,
                    B, C, D, E, F);
  }
}

/// References to the fields of `v`, in order.
template <class T>
constexpr auto tie_fields(T& v) noexcept {
  constexpr std::size_t n = field_count<std::remove_const_t<T>>;
  if constexpr (n <= 16) {
    return tie_few<n>(v);
  } else {
    return tie_many<n>(v);
  }
}

template <class T>
using field_tuple = decltype(tie_fields(std::declval<T&>()));
template <class T, std::size_t I>
using field_type = std::remove_reference_t<std::tuple_element_t<I, field_tuple<T>>>;

template <class T>
struct holder {
  T value;
};
#ifdef __clang__
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wundefined-var-template"
#pragma clang diagnostic ignored "-Wundefined-internal"
#endif
template <class T>
extern const holder<T> nowhere;  // Only its fields' addresses are named, at compile time.

template <auto* Field>
consteval const char* printed() {
  return __PRETTY_FUNCTION__;
}
template <class T, std::size_t I>
consteval std::string_view find_field_name() {
  // clang: "… [Field = &nowhere.value.price]"; g++: "… = (& nowhere<leg>.…::value.leg::price)]".
  std::string_view text = printed<&std::get<I>(tie_fields(nowhere<T>.value))>();
  while (text.ends_with(']') || text.ends_with(')')) text.remove_suffix(1);
  return text.substr(text.find_last_of(".:") + 1);
}
#ifdef __clang__
#pragma clang diagnostic pop
#endif

// A field's name as it stands on the wire: the msgpack header of a str, then the text.
template <class T, std::size_t I>
struct field_key {
  static constexpr std::size_t size = find_field_name<T, I>().size();
  static_assert(size > 0 && size < 256, "a field's name is longer than 255 characters");
  static constexpr std::size_t header = size < 32 ? 1 : 2;
  static constexpr auto bytes = [] {
    std::array<char, header + size> to{};
    if (header == 2) to[0] = static_cast<char>(0xd9);
    to[header - 1] = static_cast<char>(header == 1 ? 0xa0 | size : size);
    for (std::size_t i = 0; i < size; ++i) to[header + i] = find_field_name<T, I>()[i];
    return to;
  }();
  static constexpr std::string_view wire{bytes.data(), bytes.size()};
  static constexpr std::string_view name = wire.substr(header);
};

template <class T, class Indices = std::make_index_sequence<field_count<T>>>
struct field_names_of;
template <class T, std::size_t... I>
struct field_names_of<T, std::index_sequence<I...>> {
  static constexpr std::array<std::string_view, sizeof...(I)> names{field_key<T, I>::name...};
};
/// The names of T's fields, in order.
template <class T>
inline constexpr auto& field_names = field_names_of<T>::names;

}  // namespace coppice::detail
