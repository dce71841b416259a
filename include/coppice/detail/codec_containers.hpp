// SPDX-License-Identifier: Apache-2.0
// The codecs of sequences, sets, maps, tuples and optional.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "coppice/detail/codec.hpp"

namespace coppice::detail {

// A count is bounded by the bytes that are left, an element may be much larger than a byte: what is
// reserved ahead stays below a megabyte.
template <class T>
constexpr std::size_t reserve_max = (std::size_t{1} << 20) / sizeof(T) + 1;

template <class Sequence>
struct sequence_codec {
  using element = typename Sequence::value_type;
  using parts = types<element>;

  static void encode(msgpack::writer& w, const Sequence& v) {
    if constexpr (std::is_arithmetic_v<element>) {  // Known well enough to grow once.
      w.out().reserve(w.out().size() + 5 + v.size() * 9);
    }
    w.array(v.size());
    for (const auto& e : v) codec<element>::encode(w, e);
  }
  static Sequence decode(msgpack::reader& r) {
    const std::size_t count = r.array();
    msgpack::reader::inside here(r);
    Sequence v;
    if constexpr (requires { v.reserve(count); }) v.reserve(std::min(count, reserve_max<element>));
    for (std::size_t i = 0; i < count; ++i) {
      here.index(i);
      if constexpr (requires { v.push_back(codec<element>::decode(r)); }) {
        v.push_back(codec<element>::decode(r));
      } else {
        v.insert(codec<element>::decode(r));
      }
    }
    return v;
  }
};

template <class Map>
struct map_codec {
  using key = typename Map::key_type;
  using mapped = typename Map::mapped_type;
  using parts = types<key, mapped>;

  static void encode(msgpack::writer& w, const Map& v) {
    w.map(v.size());
    for (const auto& [k, m] : v) codec<key>::encode(w, k), codec<mapped>::encode(w, m);
  }
  static Map decode(msgpack::reader& r) {
    const std::size_t count = r.map();
    msgpack::reader::inside here(r);
    Map v;
    for (std::size_t i = 0; i < count; ++i) {
      here.index(i);
      key k = codec<key>::decode(r);
      if constexpr (std::is_convertible_v<const key&, std::string_view>) here.key(k);
      v.insert_or_assign(std::move(k),
                         codec<mapped>::decode(r));  // The last one wins, as in Python.
    }
    return v;
  }
};

inline void read_length(msgpack::reader& r, std::size_t expected) {
  const std::size_t from = r.offset();
  const std::size_t found = r.array();
  if (found != expected) {
    r.rewind(from);
    r.fail_with("expected an array of " + std::to_string(expected) + ", found one of " +
                std::to_string(found));
  }
}

template <class Tuple, class... T>
struct tuple_codec {
  using parts = types<T...>;

  static void encode(msgpack::writer& w, const Tuple& v) {
    w.array(sizeof...(T));
    std::apply([&](const auto&... e) { (codec<T>::encode(w, e), ...); }, v);
  }
  static Tuple decode(msgpack::reader& r) {
    read_length(r, sizeof...(T));
    msgpack::reader::inside here(r);
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      // Braces: evaluated from left to right, unlike the arguments of a call.
      return Tuple{(here.index(I), codec<T>::decode(r))...};
    }(std::index_sequence_for<T...>());
  }
};

}  // namespace coppice::detail

namespace coppice {

template <class T, class A>
struct codec<std::vector<T, A>> : detail::sequence_codec<std::vector<T, A>> {};
template <class T, class A>
struct codec<std::deque<T, A>> : detail::sequence_codec<std::deque<T, A>> {};
template <class T, class C, class A>
struct codec<std::set<T, C, A>> : detail::sequence_codec<std::set<T, C, A>> {};
template <class T, class H, class E, class A>
struct codec<std::unordered_set<T, H, E, A>>
    : detail::sequence_codec<std::unordered_set<T, H, E, A>> {};

template <class K, class V, class C, class A>
struct codec<std::map<K, V, C, A>> : detail::map_codec<std::map<K, V, C, A>> {};
template <class K, class V, class H, class E, class A>
struct codec<std::unordered_map<K, V, H, E, A>>
    : detail::map_codec<std::unordered_map<K, V, H, E, A>> {};

template <class A, class B>
struct codec<std::pair<A, B>> : detail::tuple_codec<std::pair<A, B>, A, B> {};
template <class... T>
struct codec<std::tuple<T...>> : detail::tuple_codec<std::tuple<T...>, T...> {};

template <class T, std::size_t N>
struct codec<std::array<T, N>> {
  using parts = detail::types<T>;

  static void encode(msgpack::writer& w, const std::array<T, N>& v) {
    w.array(N);
    for (const T& e : v) codec<T>::encode(w, e);
  }
  static std::array<T, N> decode(msgpack::reader& r) {
    detail::read_length(r, N);
    msgpack::reader::inside here(r);
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return std::array<T, N>{(here.index(I), codec<T>::decode(r))...};
    }(std::make_index_sequence<N>());
  }
};

template <class T>
struct codec<std::optional<T>> {
  using parts = detail::types<T>;

  static void encode(msgpack::writer& w, const std::optional<T>& v) {
    v ? codec<T>::encode(w, *v) : w.nil();
  }
  static std::optional<T> decode(msgpack::reader& r) {
    if (r.try_nil()) return std::nullopt;
    return codec<T>::decode(r);
  }
};

}  // namespace coppice
