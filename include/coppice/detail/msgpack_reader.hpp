// SPDX-License-Identifier: Apache-2.0
// Reads msgpack, one token after the other, and never past the end.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "coppice/payload.hpp"

namespace coppice::msgpack {

/// What a value is, by its first byte. `end`: there is none; `reserved`: 0xc1, never valid.
enum class kind : std::uint8_t {
  nil,
  boolean,
  integer,
  number,
  str,
  bin,
  array,
  map,
  ext,
  reserved,
  end,
};
std::string_view to_string(kind k) noexcept;  // "nil", "a bool", "an integer", … for error texts.

/// One token with everything that its header says. `count`: entries of an array or a map.
struct token {
  kind what = kind::end;
  bool boolean = false;
  bool negative = false;  // Of an integer: `integer` is then its two's complement.
  std::int8_t ext_type = 0;
  std::uint64_t integer = 0;
  double number = 0;
  std::size_t count = 0;
  std::span<const std::byte> bytes = {};  // Of str, bin and ext.
};

/// How much of it is UTF-8 as Python reads it: no surrogates, nothing overlong.
std::size_t utf8_prefix(std::string_view text) noexcept;
inline bool is_utf8(std::string_view text) noexcept { return utf8_prefix(text) == text.size(); }

/// Takes msgpack tokens from a span of bytes.
///
/// Every call takes one token or throws and takes nothing: message_type_error if the next value is
/// of another kind or does not fit the type asked for, protocol_error if the bytes are not msgpack
/// (they end inside a value, or a container claims more entries than there are bytes),
/// limit_exceeded if containers are nested deeper than `depth_max`. All say where in the value
/// ("legs[1].price"), what was expected, what was found and at which byte. No count that it returns
/// exceeds the bytes that are left, so a caller may reserve by it.
///
/// Text and bytes are returned as views of the input.
///
///     reader r(payload);
///     for (std::size_t n = r.map(); n > 0; --n) use(r.str(), r.integer<int>());
///     r.finish();
///
/// Owner: the caller's stack; the input outlives it. Thread: one.
class reader {
 public:
  static constexpr int depth_max_default = 512;  // Python's own limit is about 1000.

  explicit reader(std::span<const std::byte> bytes, int depth_max = depth_max_default) noexcept
      : begin_(bytes.data()),
        at_(bytes.data()),
        end_(bytes.data() + bytes.size()),
        depth_max_(depth_max) {}
  /// Values taken by value() are slices of `bytes`, which must outlive the reader.
  explicit reader(const payload& bytes, int depth_max = depth_max_default) noexcept
      : reader(bytes.bytes(), depth_max) {
    owner_ = &bytes;
  }
  reader(const reader&) = delete;
  reader& operator=(const reader&) = delete;

  kind peek() const noexcept;
  bool at_end() const noexcept { return at_ == end_; }
  std::size_t offset() const noexcept { return static_cast<std::size_t>(at_ - begin_); }
  std::size_t remaining() const noexcept { return static_cast<std::size_t>(end_ - at_); }

  void nil();
  bool try_nil() noexcept {  // Takes a nil if there is one.
    if (at_ == end_ || byte_at(at_) != 0xc0) return false;
    ++at_;
    return true;
  }
  bool boolean();
  template <std::integral T>
  T integer();
  double number();         // Of an integer too, as Python's float(); never of a bool.
  std::string_view str();  // Checked: UTF-8.
  std::string_view raw_str();
  std::span<const std::byte> bin();
  /// The same with who keeps it: a block that lies apart, or the whole payload. Else a copy.
  owned_bytes owned_bin();
  /// Takes a bin if it is a block that lies apart from the payload's bytes; null: takes nothing.
  const owned_bytes* try_block();
  std::size_t array();  // The number of values that follow.
  std::size_t map();    // The number of pairs that follow.

  /// Whatever comes next; of a container its header.
  token next();

  /// Takes one value, whatever it is and however deep, unread but checked for form; its bytes
  /// without blocks that lie apart, or a payload with them.
  std::span<const std::byte> raw() {
    const std::byte* from = at_;
    skip();
    return {from, static_cast<std::size_t>(at_ - from)};
  }
  payload value();
  void skip();

  /// Back to an earlier offset(). REQUIRES: not beyond the present one.
  void rewind(std::size_t offset) noexcept { at_ = begin_ + offset; }
  /// Throws protocol_error unless all bytes were taken.
  void finish() const;

  /// Where in the value we are, for errors, and how deep: one per container, on the stack.
  class inside {
   public:
    explicit inside(reader& r) : reader_(r), up_(r.where_) {
      if (r.depth_ == r.depth_max_) [[unlikely]]
        r.too_deep();
      ++r.depth_;
      r.where_ = this;
    }
    inside(const inside&) = delete;
    ~inside() {
      reader_.where_ = up_;
      --reader_.depth_;
    }
    void field(std::string_view name) noexcept { name_ = name, what_ = part::field; }
    void key(std::string_view name) noexcept { name_ = name, what_ = part::key; }
    void index(std::size_t i) noexcept { index_ = i, what_ = part::index; }

   private:
    friend class reader;
    enum class part : std::uint8_t { none, field, key, index };
    void print(std::string& to) const;

    reader& reader_;
    const inside* const up_;
    std::string_view name_;
    std::size_t index_ = 0;
    part what_ = part::none;
  };

  /// Throws message_type_error: "legs[1].price: expected a number, found a str (byte 17)".
  [[noreturn]] void fail(std::string_view expected) const;
  /// The same with a sentence of its own: "legs: too short (byte 3)".
  [[noreturn]] void fail_with(std::string_view sentence) const;

 private:
  static std::uint8_t byte_at(const std::byte* p) noexcept { return static_cast<std::uint8_t>(*p); }
  template <class T>
  static T big_endian(const std::byte* from) noexcept {
    T v;
    std::memcpy(&v, from, sizeof(T));
    if constexpr (sizeof(T) == 2) v = static_cast<T>(__builtin_bswap16(v));
    if constexpr (sizeof(T) == 4) v = __builtin_bswap32(v);
    if constexpr (sizeof(T) == 8) v = __builtin_bswap64(v);
    return v;
  }
  void need(std::size_t n, std::string_view what) const {
    if (remaining() < n) [[unlikely]]
      truncated(n, what);
  }
  std::size_t length(int bytes, std::string_view what) const;  // Of the header at at_.
  std::span<const std::byte> sized(std::size_t header, std::size_t size, std::string_view what);
  std::size_t entries(std::size_t header, std::size_t count, std::size_t bytes_each);
  std::string_view raw_str_long();
  std::size_t array_long();
  std::size_t map_long();
  bool integer_bits(std::uint64_t& bits);  // Takes it; true if negative.
  std::size_t skip_one();                  // Returns how many values follow as its elements.

  std::string where() const;
  [[noreturn]] void truncated(std::size_t need, std::string_view what) const;
  [[noreturn]] void bad_integer(std::int64_t min, std::uint64_t max, bool negative,
                                std::uint64_t bits) const;
  [[noreturn]] void too_deep() const;

  const std::byte* begin_;
  const std::byte* at_;
  const std::byte* end_;
  const payload* owner_ = nullptr;
  const inside* where_ = nullptr;
  int depth_ = 0;
  int depth_max_;
};

template <std::integral T>
T reader::integer() {
  static_assert(!std::same_as<T, bool>, "use boolean()");
  if (at_ != end_ && byte_at(at_) < 0x80) [[likely]]
    return static_cast<T>(byte_at(at_++));
  const std::byte* from = at_;
  std::uint64_t bits = 0;
  const bool negative = integer_bits(bits);
  const bool fits =
      negative ? std::is_signed_v<T> && static_cast<std::int64_t>(bits) >=
                                            static_cast<std::int64_t>(std::numeric_limits<T>::min())
               : bits <= static_cast<std::uint64_t>(std::numeric_limits<T>::max());
  if (!fits) [[unlikely]] {
    at_ = from;
    bad_integer(static_cast<std::int64_t>(std::numeric_limits<T>::min()),
                static_cast<std::uint64_t>(std::numeric_limits<T>::max()), negative, bits);
  }
  return static_cast<T>(bits);
}

inline std::string_view reader::raw_str() {
  if (at_ != end_ && (byte_at(at_) & 0xe0) == 0xa0) [[likely]] {
    const auto text = sized(1, byte_at(at_) & 0x1f, "a str");
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }
  return raw_str_long();
}

inline std::span<const std::byte> reader::sized(std::size_t header, std::size_t size,
                                                std::string_view what) {
  if (remaining() - header < size) [[unlikely]]
    truncated(header + size, what);
  const std::span<const std::byte> bytes{at_ + header, size};
  at_ += header + size;
  return bytes;
}

inline std::size_t reader::array() {
  if (at_ != end_ && (byte_at(at_) & 0xf0) == 0x90) [[likely]]
    return entries(1, byte_at(at_) & 0x0f, 1);
  return array_long();
}

inline std::size_t reader::map() {
  if (at_ != end_ && (byte_at(at_) & 0xf0) == 0x80) [[likely]]
    return entries(1, byte_at(at_) & 0x0f, 2);
  return map_long();
}

}  // namespace coppice::msgpack
