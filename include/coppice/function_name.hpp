// SPDX-License-Identifier: Apache-2.0
// The name of a function that other actors can call: "module:function".
#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>

#include "coppice/detail/names.hpp"

namespace coppice {

/// "module:function". A literal is checked while compiling; a name made at run time says so:
///
///     co_await p.run<int>("primes:count_primes", kw("start", 0), kw("stop", 9));
///     co_await p.run(function_name::parse(config.callback));
///
/// The module may have dots ("pkg.mod:fn"); neither may be a Python keyword.
///
/// Owner: whoever owns the text: this is a view of it. Thread: any.
class function_name {
 public:
  template <std::size_t N>
  consteval function_name(const char (&literal)[N])  // NOLINT: implicit, so that calls read well.
      : function_name(std::string_view(literal, N - 1)) {
    if (!is_valid()) throw detail::name_is_not_of_the_form_module_colon_function{};
  }

  /// Borrows the text. Throws coppice::error if it has not the form module:function.
  static function_name parse(std::string_view text);
  template <std::same_as<std::string> S>
  static function_name parse(S&&) = delete;  // It would be gone: name the string first.

  constexpr std::string_view text() const noexcept { return text_; }
  constexpr std::string_view module() const noexcept { return text_.substr(0, colon()); }
  constexpr std::string_view function() const noexcept { return text_.substr(colon() + 1); }

  friend constexpr bool operator==(function_name a, function_name b) noexcept {
    return a.text_ == b.text_;
  }

 private:
  constexpr explicit function_name(std::string_view text) noexcept : text_(text) {}
  constexpr std::size_t colon() const noexcept { return text_.find(':'); }
  constexpr bool is_valid() const noexcept {
    return colon() != text_.npos && detail::is_dotted_name(module()) &&
           detail::is_identifier(function()) && !detail::is_python_keyword(function());
  }

  std::string_view text_;
};

}  // namespace coppice
