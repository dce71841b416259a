// SPDX-License-Identifier: Apache-2.0
#include "ipc/frame_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "coppice/errors.hpp"
#include "msg/messages.hpp"

namespace coppice::ipc {

namespace {
std::size_t length_at(const std::byte* at) {
  return msg::frame_length(
      std::span<const std::byte, msg::frame_header_bytes>(at, msg::frame_header_bytes));
}
}  // namespace

bool frame_reader::ours_alone(const chunk_ptr& c) noexcept {
  if (c.use_count() != 1) return false;
  // Pairs with the release of the last payload, on whatever thread that was.
  std::atomic_thread_fence(std::memory_order_acquire);
  return true;
}

std::size_t frame_reader::partial_bytes() const noexcept {
  const std::size_t have = end_ - begin_;
  return have < msg::frame_header_bytes ? 0 : length_at(in_->bytes.get() + begin_);
}

frame_reader::chunk_ptr frame_reader::fresh(std::size_t n) {
  for (auto& spare : spares_)
    if (spare->size >= n && ours_alone(spare)) {
      auto found = std::move(spare);
      spare = std::move(spares_.back());
      spares_.pop_back();
      return found;
    }
  return make_chunk(n);
}

// One large frame must not cost its size for the rest of the connection.
void frame_reader::retire(chunk_ptr old) {
  if (!busy_ || old->size != chunk_bytes_busy) return;
  if (spares_.size() == spares_max) spares_.erase(spares_.begin());
  spares_.push_back(std::move(old));
}

// Payloads that were cut from the chunk share it, so its bytes may be moved only while nobody else
// holds it.
std::span<std::byte> frame_reader::room() {
  const std::size_t have = end_ - begin_;
  const std::size_t usual = busy_ ? chunk_bytes_busy : chunk_bytes_min;
  std::size_t whole = msg::frame_header_bytes + partial_bytes();
  // A length prefix is only a claim: room grows with what has come of it.
  whole = std::min(whole, std::max<std::size_t>(4 * have, 1 << 20));
  const std::size_t wanted = std::max(usual, whole);
  const bool alone = ours_alone(in_);
  const bool right_size = in_->size == usual || (in_->size > usual && whole > usual);
  if (right_size) {
    if (alone && have == 0) begin_ = end_ = 0;
    // A system call is not for a few bytes.
    const std::size_t enough = std::min(std::max(whole, have + in_->size / 4), in_->size);
    if (whole <= in_->size && in_->size - begin_ >= enough) return rest();
  }
  if (right_size && alone && in_->size >= wanted) {
    std::memmove(in_->bytes.get(), in_->bytes.get() + begin_, have);
  } else {
    auto next = fresh(wanted);
    std::memcpy(next->bytes.get(), in_->bytes.get() + begin_, have);
    retire(std::exchange(in_, std::move(next)));
  }
  begin_ = 0;
  end_ = have;
  return rest();
}

bool frame_reader::arrived(std::size_t n) {
  const bool full = n == rest().size();
  end_ += n;
  last_ = n;
  if (full) busy_ = true;
  small_reads_ = n < chunk_bytes_min / 4 ? small_reads_ + 1 : 0;
  if (busy_ && small_reads_ > small_reads_max) {
    busy_ = false;
    spares_.clear();
  }
  return full;
}

std::optional<std::span<const std::byte>> frame_reader::next(bool first) {
  if (end_ - begin_ < msg::frame_header_bytes) return std::nullopt;
  const std::byte* at = in_->bytes.get() + begin_;
  const std::size_t length = length_at(at);
  if (first && length > limits_.aid_bytes_max)
    throw limit_exceeded(fmt::format("a first frame of {} bytes; aid_bytes_max is {}", length,
                                     limits_.aid_bytes_max));
  if (length > limits_.frame_bytes_max)
    throw limit_exceeded(
        fmt::format("a frame of {} bytes; frame_bytes_max is {}", length, limits_.frame_bytes_max));
  if (end_ - begin_ < msg::frame_header_bytes + length) return std::nullopt;
  begin_ += msg::frame_header_bytes + length;
  return std::span(at + msg::frame_header_bytes, length);
}

}  // namespace coppice::ipc
