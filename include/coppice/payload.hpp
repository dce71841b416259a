// SPDX-License-Identifier: Apache-2.0
// One msgpack value that nobody has decoded yet.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "coppice/detail/msgpack_buffer.hpp"

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
      : owner_(std::move(other.owner_)), bytes_(std::exchange(other.bytes_, {&nil_byte, 1})) {}
  payload& operator=(payload&& other) noexcept {
    bytes_ = std::exchange(other.bytes_, {&nil_byte, 1});
    owner_ = std::move(other.owner_);
    return *this;
  }

  static payload copy_of(std::span<const std::byte> bytes);
  /// Moves the buffer's bytes out of it; the buffer is empty afterwards.
  static payload take(msgpack::buffer&& from);

  /// A part of these bytes, kept alive with them. REQUIRES: it lies inside. Of a payload that is
  /// about to go, it takes over what keeps them.
  payload slice(std::span<const std::byte> part) const&;
  payload slice(std::span<const std::byte> part) &&;

  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  std::size_t size() const noexcept { return bytes_.size(); }
  bool is_nil() const noexcept { return size() == 1 && bytes_.front() == nil_byte; }

  /// The same bytes; msgpack has several spellings of one value, so unequal says little.
  friend bool operator==(const payload& a, const payload& b) noexcept {
    return std::ranges::equal(a.bytes_, b.bytes_);
  }

 private:
  static constexpr std::byte nil_byte{0xc0};
  void check_inside(std::span<const std::byte> part) const;

  std::shared_ptr<const void> owner_;  // Null: the bytes are static.
  std::span<const std::byte> bytes_{&nil_byte, 1};
};

}  // namespace coppice
