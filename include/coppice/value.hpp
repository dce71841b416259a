// SPDX-License-Identifier: Apache-2.0
// A value whose type the program does not state: an untyped result, a field that may hold anything.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "coppice/message.hpp"
#include "coppice/payload.hpp"

namespace coppice {

/// Any message, kept as the bytes it travels in.
///
///     value v = co_await python.run("anything:at_all", kw("x", 1));
///     if (!v.is_nil()) use(v.as<basket>());
///     fmt::print("{}\n", v.text());                      // {'owner': 'ada', 'legs': []}
///
/// A value that was never assigned is nil. as<T>() decodes anew each time and throws
/// message_type_error, which names the field, if T does not fit.
///
/// # Why not a variant of numbers, texts, lists and maps?
/// Most values are passed on or decoded whole into a struct: neither needs a tree.
///
/// Owner: every copy is one; a copy costs a reference count. Thread: any.
class value {
 public:
  value() noexcept = default;
  explicit value(payload bytes) noexcept : bytes_(std::move(bytes)) {}

  /// REQUIRES: v is a message.
  template <class T>
  static value of(const T& v) {
    return value(to_payload(v));
  }

  template <class T>
  T as() const& {
    return from_payload<T>(bytes_);
  }
  template <class T>
  T as() && {
    static_assert(owned_message<T>,
                  "this type is a view of the value's bytes, which end with this expression: "
                  "name the value on the line before, or ask for std::string");
    return from_payload<T>(bytes_);
  }

  msgpack::kind kind() const noexcept { return msgpack::reader(bytes_).peek(); }
  bool is_nil() const noexcept { return bytes_.is_nil(); }

  /// As Python would print it, at most about `chars_max` characters: for people, never to parse.
  std::string text(std::size_t chars_max = 2000) const;

  const payload& bytes() const noexcept { return bytes_; }

 private:
  payload bytes_;
};

template <>
struct codec<value> {
  static void encode(msgpack::writer& w, const value& v) { w.raw(v.bytes()); }
  static value decode(msgpack::reader& r) { return value(r.value()); }
};

}  // namespace coppice
