// SPDX-License-Identifier: Apache-2.0
// text: a string that an options struct borrows.
#pragma once

#include <string>
#include <string_view>

namespace coppice {

/// Borrowed text in an options struct: valid until the function that takes the options returns,
/// which keeps what it needs. Trivially destructible, so that options are (g++ 12 destroys owning
/// aggregates in a co_await expression twice).
class text {
 public:
  constexpr text() = default;
  constexpr text(const char* s) : view_(s) {}
  constexpr text(std::string_view s) : view_(s) {}
  text(const std::string& s) : view_(s) {}
  text(std::string&&) = delete;  // A temporary string ends too soon: name it on the line before.

  constexpr std::string_view view() const noexcept { return view_; }
  constexpr bool empty() const noexcept { return view_.empty(); }

 private:
  std::string_view view_;
};

}  // namespace coppice
