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

/// References to the fields of `v`, in order.
template <class T>
constexpr auto tie_fields(T& v) noexcept {
  constexpr std::size_t n = field_count<std::remove_const_t<T>>;
  static_assert(n <= fields_max);
  if constexpr (n == 0) {
    return std::tuple<>();
  } else if constexpr (n == 1) {
    auto& [f1] = v;
    return std::tie(f1);
  } else if constexpr (n == 2) {
    auto& [f1, f2] = v;
    return std::tie(f1, f2);
  } else if constexpr (n == 3) {
    auto& [f1, f2, f3] = v;
    return std::tie(f1, f2, f3);
  } else if constexpr (n == 4) {
    auto& [f1, f2, f3, f4] = v;
    return std::tie(f1, f2, f3, f4);
  } else if constexpr (n == 5) {
    auto& [f1, f2, f3, f4, f5] = v;
    return std::tie(f1, f2, f3, f4, f5);
  } else if constexpr (n == 6) {
    auto& [f1, f2, f3, f4, f5, f6] = v;
    return std::tie(f1, f2, f3, f4, f5, f6);
  } else if constexpr (n == 7) {
    auto& [f1, f2, f3, f4, f5, f6, f7] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7);
  } else if constexpr (n == 8) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8);
  } else if constexpr (n == 9) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9);
  } else if constexpr (n == 10) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10);
  } else if constexpr (n == 11) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11);
  } else if constexpr (n == 12) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12);
  } else if constexpr (n == 13) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13);
  } else if constexpr (n == 14) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14);
  } else if constexpr (n == 15) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15);
  } else if constexpr (n == 16) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16);
  } else if constexpr (n == 17) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17);
  } else if constexpr (n == 18) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17,
                    f18);
  } else if constexpr (n == 19) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19] =
        v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19);
  } else if constexpr (n == 20) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20);
  } else if constexpr (n == 21) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21);
  } else if constexpr (n == 22) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21, f22);
  } else if constexpr (n == 23) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21, f22, f23);
  } else if constexpr (n == 24) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23, f24] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21, f22, f23, f24);
  } else if constexpr (n == 25) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23, f24, f25] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21, f22, f23, f24, f25);
  } else if constexpr (n == 26) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23, f24, f25, f26] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21, f22, f23, f24, f25, f26);
  } else if constexpr (n == 27) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23, f24, f25, f26, f27] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21, f22, f23, f24, f25, f26, f27);
  } else if constexpr (n == 28) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23, f24, f25, f26, f27, f28] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21, f22, f23, f24, f25, f26, f27, f28);
  } else if constexpr (n == 29) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23, f24, f25, f26, f27, f28, f29] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29);
  } else if constexpr (n == 30) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30);
  } else if constexpr (n == 31) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31);
  } else if constexpr (n == 32) {
    auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31, f32] = v;
    return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
                    f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31, f32);
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
