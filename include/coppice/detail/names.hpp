// SPDX-License-Identifier: Apache-2.0
// Names that travel: which are possible in Python, decided while compiling where they are literals.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace coppice::detail {

// Thrown in constant expressions only: the compiler prints the type's name at the faulty literal.
struct name_is_not_an_identifier {};
struct name_is_a_python_keyword {};
struct name_is_not_of_the_form_module_colon_function {};
struct parameter_is_named_twice {};

/// Could a Python programmer write it as a name? ASCII only, as in C++.
constexpr bool is_identifier(std::string_view name) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return !name.empty() && !digit(name.front()) &&
         std::ranges::all_of(name, [&](char c) { return letter(c) || digit(c); });
}

/// The words that Python reserves everywhere (`match`, `case`, `type` and `_` are names too).
constexpr bool is_python_keyword(std::string_view name) {
  constexpr std::string_view keywords[] = {
      "False", "None",     "True",  "and",    "as",   "assert", "async",  "await",    "break",
      "class", "continue", "def",   "del",    "elif", "else",   "except", "finally",  "for",
      "from",  "global",   "if",    "import", "in",   "is",     "lambda", "nonlocal", "not",
      "or",    "pass",     "raise", "return", "try",  "while",  "with",   "yield"};
  return std::ranges::find(keywords, name) != std::ranges::end(keywords);
}

constexpr bool is_dotted_name(std::string_view name) {
  for (;;) {
    const std::size_t dot = name.find('.');
    const std::string_view part = name.substr(0, dot);
    if (!is_identifier(part) || is_python_keyword(part)) return false;
    if (dot == name.npos) return true;
    name.remove_prefix(dot + 1);
  }
}

consteval std::string_view checked_name(std::string_view name) {
  if (!is_identifier(name)) throw name_is_not_an_identifier{};
  if (is_python_keyword(name)) throw name_is_a_python_keyword{};
  return name;
}

}  // namespace coppice::detail
