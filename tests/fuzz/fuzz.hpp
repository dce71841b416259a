// SPDX-License-Identifier: Apache-2.0
// What the libFuzzer targets share: an input as bytes, numbers and texts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/assert.hpp"
#include "coppice/detail/msgpack.hpp"
#include "coppice/payload.hpp"

namespace coppice::fuzz {

/// An input that is taken apart from the front; zeros when there is nothing left.
///
/// # Why not FuzzedDataProvider?
/// It takes numbers from the end of the input: seeds made of recorded frames would lose theirs.
class input {
 public:
  input(const std::uint8_t* data, std::size_t size)
      : left_(reinterpret_cast<const std::byte*>(data), size) {}

  bool empty() const { return left_.empty(); }
  std::uint8_t byte() {
    if (left_.empty()) return 0;
    const auto b = static_cast<std::uint8_t>(left_.front());
    left_ = left_.subspan(1);
    return b;
  }
  std::size_t below(std::size_t n) { return byte() % n; }
  std::size_t two_bytes() {
    const std::size_t low = byte();
    return low | std::size_t{byte()} << 8;
  }
  std::span<const std::byte> bytes(std::size_t n) {
    const auto part = left_.first(std::min(n, left_.size()));
    left_ = left_.subspan(part.size());
    return part;
  }
  std::span<const std::byte> rest() { return bytes(left_.size()); }
  std::string text(std::size_t n) {
    const auto part = bytes(n);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

 private:
  std::span<const std::byte> left_;
};

/// In a block of exactly their size: one byte too far is seen.
inline payload payload_of(std::span<const std::byte> bytes) { return payload::copy_of(bytes); }
inline std::string string_of(const msgpack::buffer& b) {
  return {reinterpret_cast<const char*>(b.bytes().data()), b.size()};
}

}  // namespace coppice::fuzz
