// SPDX-License-Identifier: Apache-2.0
// The codec of plain aggregates: a map by field name.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "coppice/detail/codec.hpp"
#include "coppice/detail/fields.hpp"

namespace coppice::detail {

template <class T, class Indices = std::make_index_sequence<field_count<T>>>
struct field_parts;
template <class T, std::size_t... I>
struct field_parts<T, std::index_sequence<I...>> {
  using type = types<field_type<T, I>...>;
};

std::size_t search_name(std::span<const std::string_view> names, std::string_view name,
                        std::size_t guess) noexcept;

// The place of `name` among `names`, looked for from `guess` on: senders mostly keep the order.
inline std::size_t find_name(std::span<const std::string_view> names, std::string_view name,
                             std::size_t guess) noexcept {
  if (guess < names.size() && names[guess] == name) [[likely]]
    return guess;
  return search_name(names, name, guess);
}

/// Fills the fields of `out` from a map; `unknown(name)` is called before the value of a key that T
/// does not have and may throw. The value is skipped.
template <class T, class Unknown>
void decode_fields(msgpack::reader& r, T& out, Unknown unknown) {
  constexpr std::size_t fields = field_count<T>;
  const std::size_t count = r.map();
  msgpack::reader::inside here(r);
  std::size_t next = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string_view name = r.raw_str();
    const std::size_t found = find_name(field_names<T>, name, next);
    if (found == fields) {
      unknown(name);
      r.skip();
      continue;
    }
    here.field(field_names<T>[found]);
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      const auto decode = [&]<std::size_t N>() {
        std::get<N>(tie_fields(out)) = codec<field_type<T, N>>::decode(r);
        return true;
      };
      (void)((I == found && decode.template operator()<I>()) || ...);
    }(std::make_index_sequence<fields>());
    next = found + 1;
  }
}

}  // namespace coppice::detail

namespace coppice {

template <detail::plain_aggregate T>
struct codec<T> {
  using parts = typename detail::field_parts<T>::type;

  static void encode(msgpack::writer& w, const T& v) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      w.map(sizeof...(I));
      (encode_field<I>(w, std::get<I>(detail::tie_fields(v))), ...);
    }(std::make_index_sequence<detail::field_count<T>>());
  }
  static T decode(msgpack::reader& r) {
    T v{};
    detail::decode_fields(r, v, [](std::string_view) {});
    return v;
  }

 private:
  template <std::size_t I, class Field>
  static void encode_field(msgpack::writer& w, const Field& field) {
    w.raw(std::as_bytes(std::span(detail::field_key<T, I>::wire)));
    codec<Field>::encode(w, field);
  }
};

}  // namespace coppice
