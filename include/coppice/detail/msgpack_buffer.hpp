// SPDX-License-Identifier: Apache-2.0
// Bytes that grow at the end: what the msgpack writer writes into.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "coppice/detail/owned_bytes.hpp"

namespace coppice {
class payload;
}

namespace coppice::msgpack {

/// A growable run of bytes that can become a payload without being copied.
///
/// New room is not zeroed, and clear() keeps it, so that a connection can write frame after frame
/// into one buffer.
///
/// One that becomes a payload may keep large blocks apart instead of copying them: keep_blocks().
///
/// # Why not `std::vector<std::byte>`?
/// It zeroes what extend() is about to overwrite, and its memory cannot be shared.
///
/// Owner: whoever writes. Thread: one at a time.
class buffer {
 public:
  buffer() = default;
  explicit buffer(std::size_t capacity) { reserve(capacity); }
  buffer(buffer&& other) noexcept
      : block_(std::move(other.block_)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)),
        keeps_blocks_(other.keeps_blocks_),
        apart_(std::move(other.apart_)) {}
  buffer& operator=(buffer&& other) noexcept {
    block_ = std::move(other.block_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    capacity_ = std::exchange(other.capacity_, 0);
    keeps_blocks_ = other.keeps_blocks_;
    apart_ = std::move(other.apart_);
    return *this;
  }
  buffer(const buffer&) = delete;
  buffer& operator=(const buffer&) = delete;

  /// Appends `n` bytes for the caller to fill in, all of them. Valid until the next change.
  std::byte* extend(std::size_t n) {
    if (capacity_ - size_ < n) [[unlikely]]
      grow(n);
    std::byte* room = data_ + size_;
    size_ += n;
    return room;
  }
  void append(std::span<const std::byte> bytes) {
    if (!bytes.empty()) std::memcpy(extend(bytes.size()), bytes.data(), bytes.size());
  }

  std::size_t size() const noexcept { return size_; }
  std::size_t left() const noexcept { return capacity_ - size_; }  // Before it grows.
  bool empty() const noexcept { return size_ == 0; }
  std::byte* data() noexcept { return data_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  void clear() noexcept { truncate(0); }
  /// Drops what was written after `size`, blocks too. REQUIRES: size <= size().
  void truncate(std::size_t size) noexcept {
    size_ = size;
    if (apart_) [[unlikely]]
      drop_blocks();
  }
  void reserve(std::size_t capacity) {
    if (capacity > capacity_) grow(capacity - size_);
  }

  /// From now on append_block() may be called; size() and bytes() are without what it appends.
  void keep_blocks() noexcept { keeps_blocks_ = true; }
  bool keeps_blocks() const noexcept { return keeps_blocks_; }
  bool has_blocks() const noexcept { return apart_ != nullptr; }
  /// Appends bytes without copying them. REQUIRES: keeps_blocks().
  void append_block(const owned_bytes& block);

 private:
  friend class coppice::payload;  // Takes block_ and apart_.
  void grow(std::size_t n);       // Makes room for n more.
  void drop_blocks() noexcept;    // Those after size_.

  std::shared_ptr<std::byte[]> block_;  // Of data_. Shared with payloads that were cut from it.
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
  bool keeps_blocks_ = false;
  std::unique_ptr<std::vector<block_apart>> apart_;  // Null: there is none, as mostly.
};

}  // namespace coppice::msgpack
