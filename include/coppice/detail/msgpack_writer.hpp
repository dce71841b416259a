// SPDX-License-Identifier: Apache-2.0
// Writes msgpack, one token after the other, always in its smallest form.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "coppice/detail/msgpack_buffer.hpp"
#include "coppice/payload.hpp"

namespace coppice::msgpack {

/// Appends msgpack tokens to a buffer.
///
/// The bytes are those that msgspec and msgpack-python choose: integers, lengths and ext headers in
/// the fewest bytes, every floating-point number as 64 bits. A container is its header followed by
/// its elements; the writer does not count them.
///
///     buffer out;
///     writer w(out);
///     w.map(1), w.str("pid"), w.integer(12411);
///
/// A length beyond msgpack's 32 bits throws limit_exceeded. Text is not checked here: str() writes
/// the bytes that it is given (codec<std::string> checks).
///
/// Owner: the caller's stack. Thread: the buffer's.
class writer {
 public:
  // Smaller blocks are copied: that costs less than to share them. All others have the same header.
  static constexpr std::size_t block_bytes_min = 64u << 10;

  explicit writer(buffer& out) noexcept : out_(&out) {}

  void nil() { head(0xc0); }
  void boolean(bool v) { head(v ? 0xc3 : 0xc2); }
  template <std::integral T>
  void integer(T v) {
    if constexpr (std::is_signed_v<T>) {
      if (v < 0) return negative(v);
    }
    unsigned_integer(static_cast<std::uint64_t>(v));
  }
  void number(double v) { head_and(0xcb, std::bit_cast<std::uint64_t>(v)); }

  void str(std::string_view text) { copy(str_room(text.size()), text.data(), text.size()); }
  void bin(std::span<const std::byte> bytes) {
    copy(bin_room(bytes.size()), bytes.data(), bytes.size());
  }
  /// Kept apart if it is large, has an owner, and the buffer keeps blocks.
  void bin(const owned_bytes& block);
  void ext(std::int8_t type, std::span<const std::byte> bytes) {
    copy(ext_room(type, bytes.size()), bytes.data(), bytes.size());
  }
  /// Headers with room for the caller to fill in, all of it, before the next call.
  std::byte* str_room(std::size_t size);
  std::byte* bin_room(std::size_t size);
  std::byte* ext_room(std::int8_t type, std::size_t size);

  void array(std::size_t count) { container(count, 0x90, 0xdc); }
  void map(std::size_t count) { container(count, 0x80, 0xde); }

  /// Whole values that are msgpack already.
  void raw(std::span<const std::byte> values) { out_->append(values); }
  void raw(const payload& v) {
    if (v.has_blocks()) [[unlikely]]
      return raw_with_blocks(v);
    out_->append(v.bytes());
  }

  buffer& out() noexcept { return *out_; }

 private:
  template <class T>
  static void big_endian(std::byte* to, T v) {
    if constexpr (sizeof(T) == 2) v = static_cast<T>(__builtin_bswap16(v));
    if constexpr (sizeof(T) == 4) v = __builtin_bswap32(v);
    if constexpr (sizeof(T) == 8) v = __builtin_bswap64(v);
    std::memcpy(to, &v, sizeof(T));
  }
  static void copy(std::byte* to, const void* from, std::size_t size) {
    if (size != 0) std::memcpy(to, from, size);
  }
  void head(std::uint8_t first) { *out_->extend(1) = std::byte{first}; }
  template <class T>
  void head_and(std::uint8_t first, T v) {
    std::byte* to = out_->extend(1 + sizeof(T));
    *to = std::byte{first};
    big_endian(to + 1, v);
  }
  void unsigned_integer(std::uint64_t v) {
    if (v < 0x80) return head(static_cast<std::uint8_t>(v));
    if (v <= 0xff) return head_and(0xcc, static_cast<std::uint8_t>(v));
    if (v <= 0xffff) return head_and(0xcd, static_cast<std::uint16_t>(v));
    if (v <= 0xffff'ffff) return head_and(0xce, static_cast<std::uint32_t>(v));
    head_and(0xcf, v);
  }
  void negative(std::int64_t v) {
    if (v >= -32) return head(static_cast<std::uint8_t>(v));
    if (v >= INT8_MIN) return head_and(0xd0, static_cast<std::uint8_t>(v));
    if (v >= INT16_MIN) return head_and(0xd1, static_cast<std::uint16_t>(v));
    if (v >= INT32_MIN) return head_and(0xd2, static_cast<std::uint32_t>(v));
    head_and(0xd3, static_cast<std::uint64_t>(v));
  }
  void container(std::size_t count, std::uint8_t fix, std::uint8_t sixteen) {
    if (count < 16) return head(static_cast<std::uint8_t>(fix | count));
    if (count <= 0xffff) return head_and(sixteen, static_cast<std::uint16_t>(count));
    if (count > std::numeric_limits<std::uint32_t>::max()) too_long(count);
    head_and(static_cast<std::uint8_t>(sixteen + 1), static_cast<std::uint32_t>(count));
  }
  // A header of `header` bytes (the length big-endian at its end), then room for `size`.
  template <class T>
  std::byte* sized(std::uint8_t first, T size) {
    std::byte* to = out_->extend(1 + sizeof(T) + size);
    *to = std::byte{first};
    big_endian(to + 1, size);
    return to + 1 + sizeof(T);
  }
  void raw_with_blocks(const payload& v);
  [[noreturn]] static void too_long(std::size_t size);

  buffer* out_;
};

inline std::byte* writer::str_room(std::size_t size) {
  if (size < 32) {
    std::byte* to = out_->extend(1 + size);
    *to = std::byte{static_cast<std::uint8_t>(0xa0 | size)};
    return to + 1;
  }
  if (size <= 0xff) return sized(0xd9, static_cast<std::uint8_t>(size));
  if (size <= 0xffff) return sized(0xda, static_cast<std::uint16_t>(size));
  if (size > std::numeric_limits<std::uint32_t>::max()) too_long(size);
  return sized(0xdb, static_cast<std::uint32_t>(size));
}

inline std::byte* writer::bin_room(std::size_t size) {
  if (size <= 0xff) return sized(0xc4, static_cast<std::uint8_t>(size));
  if (size <= 0xffff) return sized(0xc5, static_cast<std::uint16_t>(size));
  if (size > std::numeric_limits<std::uint32_t>::max()) too_long(size);
  return sized(0xc6, static_cast<std::uint32_t>(size));
}

}  // namespace coppice::msgpack
