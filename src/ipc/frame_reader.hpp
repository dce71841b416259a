// SPDX-License-Identifier: Apache-2.0
// Where the bytes of a connection arrive: chunks that decoded payloads share.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "coppice/payload.hpp"
#include "ipc/limits.hpp"

namespace coppice::ipc {

/// Collects bytes and cuts them into frames.
///
///     in.arrived(recv(in.room()));
///     while (const auto frame = in.next(first)) use(in.keep(*frame));
///
/// Promises: a frame's bytes are copied at most when it does not fit into what is left of its
/// chunk; memory is never more than a few times of what has arrived, whatever a length prefix says;
/// a connection that is busy gets larger chunks and uses those again that nobody holds any more; an
/// idle one keeps the smallest.
///
/// Owner: its link. Thread: one at a time; payloads may end on any.
class frame_reader {
 public:
  explicit frame_reader(const limits& l) : limits_(l), in_(make_chunk(chunk_bytes_min)) {}

  /// Where the next bytes go; never empty. Throws std::bad_alloc.
  std::span<std::byte> room();
  /// True: the last room() is full, so there may be more. REQUIRES: n is at most that.
  bool arrived(std::size_t n);
  /// A whole frame without its length, if there is one; valid until the next room(). Throws
  /// limit_exceeded for one that may not be that long; `first`: it is a stranger's first.
  std::optional<std::span<const std::byte>> next(bool first);
  /// Part of a frame, for longer. REQUIRES: it is the last one that next() gave.
  payload keep(std::span<const std::byte> part) const { return payload(in_, part); }
  /// Is a frame here in part?
  bool partial() const noexcept { return begin_ != end_; }
  /// Did it begin with what arrived last?
  bool began() const noexcept { return end_ - begin_ <= last_; }
  std::size_t partial_bytes() const noexcept;  // How long it will be, if that is known.

 private:
  struct chunk {
    explicit chunk(std::size_t n)
        : bytes(std::make_unique_for_overwrite<std::byte[]>(n)), size(n) {}
    const std::unique_ptr<std::byte[]> bytes;
    const std::size_t size;
  };
  using chunk_ptr = std::shared_ptr<chunk>;  // Shared with the payloads in it.
  static constexpr std::size_t chunk_bytes_min = 64 * 1024;
  static constexpr std::size_t chunk_bytes_busy = 512 * 1024;
  static constexpr std::size_t spares_max = 4;
  static constexpr int small_reads_max = 64;

  static chunk_ptr make_chunk(std::size_t n) { return std::make_shared<chunk>(n); }
  static bool ours_alone(const chunk_ptr& c) noexcept;
  std::span<std::byte> rest() const { return {in_->bytes.get() + end_, in_->size - end_}; }
  chunk_ptr fresh(std::size_t n);
  void retire(chunk_ptr old);

  const limits limits_;
  chunk_ptr in_;
  std::size_t begin_ = 0, end_ = 0;  // Bytes of in_ that are not yet taken.
  std::vector<chunk_ptr> spares_;
  std::size_t last_ = 0;  // How much arrived last.
  bool busy_ = false;     // A read filled its room, and not all have been small since.
  int small_reads_ = 0;   // In a row.
};

}  // namespace coppice::ipc
