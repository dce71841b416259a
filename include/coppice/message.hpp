// SPDX-License-Identifier: Apache-2.0
// Which C++ types travel between actors, and as what.
#pragma once

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>

#include "coppice/detail/codec.hpp"
#include "coppice/detail/codec_containers.hpp"
#include "coppice/detail/codec_fields.hpp"
#include "coppice/detail/msgpack.hpp"
#include "coppice/errors.hpp"
#include "coppice/payload.hpp"

namespace coppice {

/// A type whose values travel between actors. Nothing needs to be declared:
///
///     struct leg { std::string symbol; double price = 0; };
///     struct basket { std::string owner; std::vector<leg> legs; std::optional<int> tag; };
///     static_assert(message<basket> && !message<int*>);
///
/// | C++ | msgpack | Python |
/// |---|---|---|
/// | `bool` | bool | `bool`, never an `int` |
/// | integers | int, range checked | `int` |
/// | `double`, `float` | float 64 (an int is accepted) | `float` |
/// | `char` | str of one ASCII character | `str` |
/// | enumeration (with a stated underlying type) | int, its number | `int`, as `IntEnum` encodes |
/// | `std::string`, `std::string_view` | str, UTF-8 checked | `str` |
/// | `vector`, `span`, `array` of `std::byte`, `shared_buffer` | bin | `bytes`, `coppice.Buffer` |
/// | `vector`, `deque`, `array`, `set`, `unordered_set` | array | `list` |
/// | `pair`, `tuple` | array of that length | `tuple` (sent), `list` (received) |
/// | `map`, `unordered_map` | map | `dict` |
/// | `optional<T>` | nil or T | `None` or the value |
/// | plain aggregate, up to 32 fields | map by field name | `dict`; a `msgspec.Struct` fits it |
/// | `value`, `payload` | whatever it holds | anything |
///
/// Of an aggregate every field is sent. On arrival keys that it does not have are ignored and
/// fields that are missing keep their default, so either side may grow first.
///
/// `std::string_view` and `std::span<const std::byte>` are views of the received bytes, valid until
/// the endpoint that got them returns. They cannot be the result of a call.
///
/// A value that does not fit throws message_type_error, which names the field:
/// "legs[1].price: expected a number, found a str (byte 31)".
///
/// # Why not a schema, or a macro per struct?
/// Python needs no schema, and field names of aggregates can be read at compile time. Aggregates
/// with base classes, C arrays or invariants specialise codec<T>.
template <class T>
concept message = detail::travels<T>();

/// A message that owns all it refers to: what a call may return.
template <class T>
concept owned_message = message<T> && !detail::borrows<T>();

/// How T travels: two static functions. Specialise it for a type with invariants:
///
///     template <>
///     struct coppice::codec<celsius> {
///       static void encode(msgpack::writer& w, const celsius& c) { w.number(c.degrees()); }
///       static celsius decode(msgpack::reader& r) { return celsius(r.number()); }
///     };
///
/// encode writes exactly one msgpack value and decode takes exactly one. Errors: throw
/// `r.fail_with("colder than absolute zero")`, which adds the path of the field. A codec whose
/// values refer to the received bytes says `static constexpr bool borrows = true;`.
template <class T>
struct codec;  // Declared again for its comment: defined in detail/codec*.hpp.

/// An actor's identity travels as tractor writes it: [name, uuid].
template <>
struct codec<uid> {
  static void encode(msgpack::writer& w, const uid& v) {
    w.array(2);
    codec<std::string>::encode(w, v.name);
    codec<std::string>::encode(w, v.uuid);
  }
  static uid decode(msgpack::reader& r) {
    detail::read_length(r, 2);
    msgpack::reader::inside here(r);
    uid v;
    here.index(0), v.name = r.str();
    here.index(1), v.uuid = r.str();
    return v;
  }
};

/// The value as msgpack bytes.
template <class T>
payload to_payload(const T& v) {
  static_assert(message<T>, "this type cannot travel: see the table in coppice/message.hpp");
  msgpack::buffer out;
  out.keep_blocks();
  msgpack::writer w(out);
  codec<T>::encode(w, v);
  return payload::take(std::move(out));
}

/// The value in the bytes, all of them. Throws as msgpack::reader does.
template <class T>
T from_payload(const payload& bytes) {
  static_assert(message<T>, "this type cannot travel: see the table in coppice/message.hpp");
  msgpack::reader r(bytes);
  T v = codec<T>::decode(r);
  r.finish();
  return v;
}
template <class T>
  requires(!owned_message<T>)
T from_payload(payload&&) = delete;  // A view of bytes that are about to go: name the payload.

}  // namespace coppice
