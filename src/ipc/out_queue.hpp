// SPDX-License-Identifier: Apache-2.0
// What a connection has to send and has not sent yet.
#pragma once

#include <boost/asio/buffer.hpp>
#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "coppice/payload.hpp"
#include "msg/messages.hpp"

namespace coppice::ipc {

/// Bytes of a frame, but for a large payload that ends it: that is not copied, only shared.
struct encoded {
  msgpack::buffer head;
  payload body;  // Nil: all of it is in `head`.
};

/// From how many bytes on a payload is worth a buffer of its own in a system call.
inline constexpr std::size_t shared_payload_bytes_min = 16 * 1024;
inline bool is_worth_sharing(const payload& p) noexcept {
  return p.size() >= shared_payload_bytes_min;
}

/// Appends the frame, but for the body that is returned (nil: none). Throws as msg::encode_frame
/// does.
payload encode_frame_shared(msg::message&& m, msgpack::buffer& out, msg::dialect to);

/// A queue of bytes: small frames are collected in buffers, large payloads stand between them as
/// they are. Owner: its link. Thread: one at a time.
class out_queue {
 public:
  /// Encodes at the end.
  void push(msg::message&& m, msg::dialect to);
  void push(encoded&& frame);
  /// A Yield for each. Throws as msg::encode_yields does.
  void push_values(const std::string& cid, std::vector<payload>&& values);

  std::size_t size() const noexcept { return size_; }
  /// The first bytes, in as many parts as there is room for.
  std::size_t gather(std::span<boost::asio::const_buffer> parts) const;
  /// So many of them have left. REQUIRES: n <= size().
  void pop(std::size_t n);
  void clear();

 private:
  struct piece {
    msgpack::buffer bytes;
    payload shared;         // Nil: `bytes` counts.
    std::size_t begin = 0;  // What was sent of it.
    std::span<const std::byte> rest() const {
      return (shared.is_nil() ? bytes.bytes() : shared.bytes()).subspan(begin);
    }
  };
  msgpack::buffer& tail();
  void push_shared(payload body);

  std::deque<piece> pieces_;
  std::size_t size_ = 0;
};

}  // namespace coppice::ipc
