// SPDX-License-Identifier: Apache-2.0
// Keyword arguments for a function that is called by name.
#pragma once

#include <concepts>
#include <cstddef>
#include <string_view>
#include <type_traits>
#include <utility>

#include "coppice/detail/names.hpp"
#include "coppice/message.hpp"
#include "coppice/payload.hpp"

namespace coppice {

/// May a value of this argument type stand inside a `co_await` expression? g++ 12 destroys a
/// temporary made by aggregate braces twice when it owns memory; lvalues, trivial aggregates and
/// classes with constructors are safe. (COPPICE_GUARD_EVERYWHERE: checked on every compiler.)
template <class Arg>
concept safe_temporary =
#if (defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 14) || defined(COPPICE_GUARD_EVERYWHERE)
    std::is_lvalue_reference_v<Arg> || !std::is_aggregate_v<std::remove_cvref_t<Arg>> ||
    std::is_trivially_destructible_v<std::remove_cvref_t<Arg>>;
#else
    true;
#endif

/// A parameter's name, checked while compiling: an identifier, and no keyword of Python's, since no
/// Python caller or callee could write that.
class kw_name {
 public:
  template <std::size_t N>
  consteval kw_name(const char (&literal)[N])  // NOLINT: implicit, so that calls read well.
      : text_(detail::checked_name(std::string_view(literal, N - 1))) {}
  constexpr std::string_view text() const noexcept { return text_; }

 private:
  std::string_view text_;
};

/// One keyword argument, made by kw(). Scalars and views are kept by value, all else by reference.
///
/// Owner: the expression that makes it; functions take it as `const kwarg<V>&...` and encode it
/// before they return. It does not copy, so that it cannot be kept. Thread: one.
template <class V>
class kwarg {
 public:
  using type = V;
  static constexpr bool by_value = std::is_trivially_copyable_v<V> && sizeof(V) <= 16;

  constexpr kwarg(std::string_view name, const V& value) noexcept : name_(name), value_(value) {}
  kwarg(const kwarg&) = delete;
  kwarg& operator=(const kwarg&) = delete;

  constexpr std::string_view name() const noexcept { return name_; }
  constexpr const V& value() const noexcept { return value_; }

 private:
  std::string_view name_;
  std::conditional_t<by_value, V, const V&> value_;
};

/// `kw("start", 0)`: the argument `start` of a call by name.
///
///     co_await p.run<double>("physics:energy", kw("mass", 2.0), kw("speed", v));
///
/// A string literal travels as text. An aggregate that owns memory is named on the line before
/// (see safe_temporary).
template <class V>
constexpr auto kw(kw_name name, V&& value) {
  using type = std::remove_cvref_t<V>;
  static_assert(safe_temporary<V&&>,
                "g++ 12 destroys this temporary twice: name it on the line before");
  if constexpr (std::is_convertible_v<const type&, const char*>) {
    return kwarg<std::string_view>(name.text(), std::string_view(value));
  } else {
    static_assert(message<type>, "this type cannot travel: see the table in coppice/message.hpp");
    return kwarg<type>(name.text(), value);
  }
}

namespace detail {
[[noreturn]] void argument_twice(std::string_view name);
}

/// The map that travels as `kwargs`. Throws coppice::error if a name stands there twice.
template <class... V>
payload to_kwargs(const kwarg<V>&... args) {
  [[maybe_unused]] const std::string_view names[] = {args.name()..., std::string_view()};
  for (std::size_t i = 0; i < sizeof...(V); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (names[i] == names[j]) detail::argument_twice(names[i]);
    }
  }
  msgpack::buffer out;
  out.keep_blocks();
  msgpack::writer w(out);
  w.map(sizeof...(V));
  ((w.str(args.name()), codec<V>::encode(w, args.value())), ...);
  return payload::take(std::move(out));
}

}  // namespace coppice
