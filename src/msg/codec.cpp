// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "coppice/detail/codec_fields.hpp"
#include "coppice/errors.hpp"

namespace coppice::detail {

void text_is_not_utf8(std::string_view text) {
  throw message_type_error("a str must be UTF-8, and this one is not from its byte " +
                           std::to_string(msgpack::utf8_prefix(text)) +
                           " on: send std::vector<std::byte> for bytes");
}

std::size_t search_name(std::span<const std::string_view> names, std::string_view name,
                        std::size_t guess) noexcept {
  for (std::size_t n = 0; n < names.size(); ++n, ++guess) {
    if (guess >= names.size()) guess = 0;
    if (names[guess] == name) return guess;
  }
  return names.size();
}

}  // namespace coppice::detail
