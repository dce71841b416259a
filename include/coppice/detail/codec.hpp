// SPDX-License-Identifier: Apache-2.0
// What a codec is, and the codecs of scalars, text and bytes.
#pragma once

#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "coppice/detail/msgpack.hpp"
#include "coppice/payload.hpp"

namespace coppice {

template <class T>
struct codec;

namespace detail {

// The types that a codec delegates to: `using parts = types<K, V>;`. Walking them, rather than
// constraining each container, is what lets a struct hold a vector of itself.
template <class... T>
struct types {};

template <class T>
concept has_codec = requires(msgpack::writer& w, msgpack::reader& r, const T& v) {
  codec<T>::encode(w, v);
  { codec<T>::decode(r) } -> std::same_as<T>;
};

template <class T, class... Seen>
consteval bool travels();
template <class... Seen, class... Part>
consteval bool all_travel(types<Part...>) {
  return (travels<Part, Seen...>() && ...);
}
template <class T, class... Seen>
consteval bool travels() {
  if constexpr ((std::same_as<T, Seen> || ...)) {
    return true;
  } else if constexpr (!has_codec<T>) {
    return false;
  } else if constexpr (requires { typename codec<T>::parts; }) {
    return all_travel<T, Seen...>(typename codec<T>::parts());
  } else {
    return true;
  }
}

template <class T, class... Seen>
consteval bool borrows();
template <class... Seen, class... Part>
consteval bool any_borrows(types<Part...>) {
  return (borrows<Part, Seen...>() || ...);
}
template <class T, class... Seen>
consteval bool borrows() {
  if constexpr ((std::same_as<T, Seen> || ...)) {
    return false;
  } else if constexpr (requires { codec<T>::borrows; }) {
    return codec<T>::borrows;
  } else if constexpr (requires { typename codec<T>::parts; }) {
    return any_borrows<T, Seen...>(typename codec<T>::parts());
  } else {
    return false;
  }
}

// Not char, wchar_t and the like: those are text of an unstated encoding.
template <class T>
concept wire_integer =
    std::same_as<T, signed char> || std::same_as<T, unsigned char> || std::same_as<T, short> ||
    std::same_as<T, unsigned short> || std::same_as<T, int> || std::same_as<T, unsigned> ||
    std::same_as<T, long> || std::same_as<T, unsigned long> || std::same_as<T, long long> ||
    std::same_as<T, unsigned long long>;

// Every number of the underlying type is a value of such an enumeration; of others it is not.
template <class T>
concept wire_enum = std::is_enum_v<T> && !std::same_as<T, std::byte> &&
                    requires { T{std::underlying_type_t<T>{}}; };

[[noreturn]] void text_is_not_utf8(std::string_view text);

inline void write_text(msgpack::writer& w, std::string_view text) {
  if (!msgpack::is_utf8(text)) [[unlikely]]
    text_is_not_utf8(text);
  w.str(text);
}

inline std::span<const std::byte> read_bytes(msgpack::reader& r, std::size_t size) {
  const std::size_t from = r.offset();
  const auto bytes = r.bin();
  if (bytes.size() != size) {
    r.rewind(from);
    r.fail_with("expected " + std::to_string(size) + " bytes, found " +
                std::to_string(bytes.size()));
  }
  return bytes;
}

}  // namespace detail

template <>
struct codec<bool> {
  static void encode(msgpack::writer& w, bool v) { w.boolean(v); }
  static bool decode(msgpack::reader& r) { return r.boolean(); }
};

template <detail::wire_integer T>
struct codec<T> {
  static void encode(msgpack::writer& w, T v) { w.integer(v); }
  static T decode(msgpack::reader& r) { return r.integer<T>(); }
};

template <detail::wire_enum T>
struct codec<T> {
  using number = std::underlying_type_t<T>;
  static void encode(msgpack::writer& w, T v) { w.integer(static_cast<number>(v)); }
  static T decode(msgpack::reader& r) { return static_cast<T>(r.integer<number>()); }
};

template <>
struct codec<double> {
  static void encode(msgpack::writer& w, double v) { w.number(v); }
  static double decode(msgpack::reader& r) { return r.number(); }
};

template <>
struct codec<float> {
  static void encode(msgpack::writer& w, float v) { w.number(static_cast<double>(v)); }
  static float decode(msgpack::reader& r) {
    const std::size_t from = r.offset();
    const double v = r.number();
    if (std::isfinite(v) && std::abs(v) > static_cast<double>(std::numeric_limits<float>::max())) {
      r.rewind(from);
      r.fail_with("the number does not fit a 32-bit float");
    }
    return static_cast<float>(v);
  }
};

template <>
struct codec<char> {
  static void encode(msgpack::writer& w, char v) { detail::write_text(w, {&v, 1}); }
  static char decode(msgpack::reader& r) {
    const std::size_t from = r.offset();
    const std::string_view text = r.str();
    if (text.size() != 1) {
      r.rewind(from);
      r.fail_with("expected a str of one ASCII character");
    }
    return text.front();
  }
};

template <>
struct codec<std::string> {
  static void encode(msgpack::writer& w, const std::string& v) { detail::write_text(w, v); }
  static std::string decode(msgpack::reader& r) { return std::string(r.str()); }
};

template <>
struct codec<std::string_view> {
  static constexpr bool borrows = true;
  static void encode(msgpack::writer& w, std::string_view v) { detail::write_text(w, v); }
  static std::string_view decode(msgpack::reader& r) { return r.str(); }
};

template <>
struct codec<std::span<const std::byte>> {
  static constexpr bool borrows = true;
  static void encode(msgpack::writer& w, std::span<const std::byte> v) { w.bin(v); }
  static std::span<const std::byte> decode(msgpack::reader& r) { return r.bin(); }
};

template <>
struct codec<std::vector<std::byte>> {
  static void encode(msgpack::writer& w, const std::vector<std::byte>& v) { w.bin(v); }
  static std::vector<std::byte> decode(msgpack::reader& r) {
    const auto bytes = r.bin();
    return {bytes.begin(), bytes.end()};
  }
};

template <std::size_t N>
struct codec<std::array<std::byte, N>> {
  static void encode(msgpack::writer& w, const std::array<std::byte, N>& v) { w.bin(v); }
  static std::array<std::byte, N> decode(msgpack::reader& r) {
    std::array<std::byte, N> to;
    const auto from = detail::read_bytes(r, N);
    std::copy(from.begin(), from.end(), to.begin());
    return to;
  }
};

/// Anything, undecoded: a slice of the frame it arrived in.
template <>
struct codec<payload> {
  static void encode(msgpack::writer& w, const payload& v) { w.raw(v); }
  static payload decode(msgpack::reader& r) { return r.value(); }
};

}  // namespace coppice
