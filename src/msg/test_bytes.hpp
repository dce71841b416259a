// SPDX-License-Identifier: Apache-2.0
// Bytes as hex text, for tests that compare what stands on the wire.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/payload.hpp"

namespace coppice::msg {

inline std::string hex(std::span<const std::byte> bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte b : bytes) {
    text += digits[static_cast<unsigned>(b) >> 4];
    text += digits[static_cast<unsigned>(b) & 15];
  }
  return text;
}
inline std::string hex(const payload& p) { return hex(p.bytes()); }

/// Spaces are ignored: "82 a161 01".
inline std::vector<std::byte> unhex(std::string_view text) {
  std::vector<std::byte> bytes;
  int high = -1;
  for (const char c : text) {
    if (c == ' ') continue;
    const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
    if (high >= 0) bytes.push_back(static_cast<std::byte>(high * 16 + digit));
    high = high >= 0 ? -1 : digit;
  }
  return bytes;
}
inline payload unhex_payload(std::string_view text) { return payload::copy_of(unhex(text)); }

/// The text of the E that f() throws; "nothing thrown" otherwise.
template <class E, class F>
std::string text_of(F f) try {
  f();
  return "nothing thrown";
} catch (const E& e) {
  return e.what();
}

}  // namespace coppice::msg
