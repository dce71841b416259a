// SPDX-License-Identifier: Apache-2.0
// Bytes that grow at the end: what the msgpack writer writes into.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

namespace coppice {
class payload;
}

namespace coppice::msgpack {

/// A growable run of bytes that can become a payload without being copied.
///
/// New room is not zeroed, and clear() keeps it, so that a connection can write frame after frame
/// into one buffer.
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
        capacity_(std::exchange(other.capacity_, 0)) {}
  buffer& operator=(buffer&& other) noexcept {
    block_ = std::move(other.block_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    capacity_ = std::exchange(other.capacity_, 0);
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
  bool empty() const noexcept { return size_ == 0; }
  std::byte* data() noexcept { return data_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  void clear() noexcept { size_ = 0; }
  /// Drops what was written after `size`. REQUIRES: size <= size().
  void truncate(std::size_t size) noexcept { size_ = size; }
  void reserve(std::size_t capacity) {
    if (capacity > capacity_) grow(capacity - size_);
  }

 private:
  friend class coppice::payload;  // Takes block_.
  void grow(std::size_t n);       // Makes room for n more.

  std::shared_ptr<std::byte[]> block_;  // Shared with nobody until a payload takes it.
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace coppice::msgpack
