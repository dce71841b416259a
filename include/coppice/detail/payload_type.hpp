// SPDX-License-Identifier: Apache-2.0
// What a C++ type is called in a message_type_error: by the names that both languages know.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "coppice/message.hpp"
#include "coppice/value.hpp"

namespace coppice::detail {

template <class T>
constexpr std::string_view spelt_type() {
  const std::string_view all = __PRETTY_FUNCTION__;  // "… [T = ns::x]", "… [with T = ns::x; …]".
  const std::size_t from = all.find("T = ") + 4;
  std::string_view name = all.substr(from, all.find_first_of(";]", from) - from);
  // The class without its namespace; a template's arguments have colons of their own.
  if (const auto colon = name.substr(0, name.find('<')).rfind("::"); colon != name.npos)
    name.remove_prefix(colon + 2);
  return name;
}

template <class T>
struct payload_type {
  static std::string name() {
    if constexpr (std::same_as<T, bool>) {
      return "bool";
    } else if constexpr (std::integral<T> || std::is_enum_v<T>) {
      return std::same_as<T, char> ? "str" : "int";
    } else if constexpr (std::floating_point<T>) {
      return "float";
    } else if constexpr (std::same_as<T, std::string>) {
      return "str";
    } else if constexpr (std::same_as<T, value> || std::same_as<T, payload>) {
      return "Any";
    } else {
      return std::string(spelt_type<T>());
    }
  }
};
template <class T>
struct payload_type<std::optional<T>> {
  static std::string name() { return payload_type<T>::name() + " | None"; }
};
template <class T>
struct payload_type<std::vector<T>> {
  static std::string name() { return "list[" + payload_type<T>::name() + "]"; }
};
template <>
struct payload_type<std::vector<std::byte>> {
  static std::string name() { return "bytes"; }
};

/// What takes a message of a dialog says when the payload does not fit.
struct payload_context {
  std::string_view message;   // "Started", "Yield", "Return".
  std::string_view function;  // "market:trade", as the caller named it.
  std::string_view cid;
};
[[noreturn]] void throw_misfit(const payload_context& where, std::string expected,
                               const payload& got, const message_type_error& why);

/// The payload as T. Throws message_type_error with the message that had it: where() is its
/// context.
template <class T, std::invocable Where>
T decode_payload(payload bytes, Where where) {
  if constexpr (std::same_as<T, value>) {
    return value(std::move(bytes));
  } else {
    try {
      return from_payload<T>(bytes);
    } catch (const message_type_error& e) {
      throw_misfit(where(), payload_type<T>::name(), bytes, e);
    }
  }
}

}  // namespace coppice::detail
