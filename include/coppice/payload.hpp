// SPDX-License-Identifier: Apache-2.0
// One msgpack value that nobody has decoded yet.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "coppice/detail/msgpack_buffer.hpp"
#include "coppice/detail/owned_bytes.hpp"

namespace coppice {

/// Immutable, shared bytes: one msgpack value, or a frame that holds several.
///
/// What arrives stays bytes until the one who knows its type decodes it. A copy costs a reference
/// count; a slice of a received frame keeps the frame alive and copies nothing. A payload that was
/// never assigned is nil.
///
///     payload frame = payload::take(std::move(buffer));
///     payload part = frame.slice(frame.bytes().subspan(8, 4));
///
/// A large block of bytes inside a value (a shared_buffer) may lie apart, where it always lay: then
/// it is one of blocks(), and bytes() are without it. Who needs one run of bytes takes flat().
///
/// # Why not `std::span`?
/// Payloads cross threads and outlive the socket's buffer; somebody has to own them.
///
/// Owner: every copy is one (shared_ptr: the last holder may be any actor). Thread: any.
class payload {
 public:
  payload() noexcept = default;
  /// `bytes` stay valid and unchanged for as long as `owner` lives.
  payload(std::shared_ptr<const void> owner, std::span<const std::byte> bytes) noexcept
      : owner_(std::move(owner)), bytes_(bytes) {}
  payload(const payload&) noexcept = default;
  payload& operator=(const payload&) noexcept = default;
  payload(payload&& other) noexcept  // Leaves nil behind, never bytes without their owner.
      : owner_(std::move(other.owner_)),
        apart_(std::exchange(other.apart_, nullptr)),
        bytes_(std::exchange(other.bytes_, {&nil_byte, 1})) {}
  payload& operator=(payload&& other) noexcept {
    bytes_ = std::exchange(other.bytes_, {&nil_byte, 1});
    apart_ = std::exchange(other.apart_, nullptr);
    owner_ = std::move(other.owner_);
    return *this;
  }

  static payload copy_of(std::span<const std::byte> bytes);
  /// Moves the buffer's bytes out of it; the buffer is empty afterwards.
  static payload take(msgpack::buffer&& from);
  /// The same, but the buffer goes on behind these bytes: several small payloads share its memory,
  /// and the last of them frees it.
  static payload cut(msgpack::buffer& from);

  /// A part of bytes() with the blocks that belong into it, kept alive with them. REQUIRES: it lies
  /// inside. Of a payload that is about to go, it takes over what keeps them.
  payload slice(std::span<const std::byte> part) const&;
  payload slice(std::span<const std::byte> part) &&;

  std::span<const std::byte> bytes() const noexcept { return bytes_; }  // Without blocks().
  bool has_blocks() const noexcept { return apart_ != nullptr; }
  std::span<const block_apart> blocks() const noexcept;  // By their places in bytes().
  std::size_t size() const noexcept { return bytes_.size() + (has_blocks() ? blocks_size() : 0); }
  payload flat() const;  // The same value without blocks: a copy if it has any.

  const std::shared_ptr<const void>& owner() const noexcept { return owner_; }
  bool is_nil() const noexcept { return size() == 1 && bytes_.front() == nil_byte; }

  /// The same bytes; msgpack has several spellings of one value, so unequal says little.
  friend bool operator==(const payload& a, const payload& b) {
    if (a.has_blocks() || b.has_blocks()) return equal_flat(a, b);
    return std::ranges::equal(a.bytes_, b.bytes_);
  }

 private:
  struct with_blocks;
  static constexpr std::byte nil_byte{0xc0};
  void check_inside(std::span<const std::byte> part) const;
  payload slice_with_blocks(std::span<const std::byte> part) const;
  std::size_t blocks_size() const noexcept;
  static bool equal_flat(const payload& a, const payload& b);

  std::shared_ptr<const void> owner_;   // Null: the bytes are static.
  const with_blocks* apart_ = nullptr;  // Null: it has none. Else it is what owner_ keeps.
  std::span<const std::byte> bytes_{&nil_byte, 1};
};

inline payload payload::cut(msgpack::buffer& from) {
  if (from.has_blocks()) [[unlikely]]
    return take(std::move(from));
  payload made(from.block_, from.bytes());
  from.data_ += from.size_;
  from.capacity_ -= from.size_;
  from.size_ = 0;
  return made;
}

}  // namespace coppice
