// SPDX-License-Identifier: Apache-2.0
// Bytes there and back: what a socket link needs of a connection, whatever carries it.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace coppice::ipc {

/// Who uses a stream. Told on the loop's thread, never inside the call that asked.
class stream_user {
 public:
  virtual void on_read(const boost::system::error_code& ec, std::size_t n) = 0;
  virtual void on_writable() = 0;

 protected:
  ~stream_user() = default;
};
using stream_user_ptr = std::shared_ptr<stream_user>;  // Kept by what is pending.

/// A connected, non-blocking stream of bytes.
///
/// # Why not Asio's AsyncStream?
/// It is a concept: a link over a plain socket and one over TLS would be two instantiations of the
/// same class; and a handler per operation is an allocation, where one user per stream is none.
///
/// Owner: its link. Thread: its loop's.
class stream {
 public:
  virtual ~stream() = default;

  /// Waits for bytes, puts them into `room` and tells `user`: asio::error::eof at the end. One at a
  /// time.
  virtual void read(std::span<std::byte> room, stream_user_ptr user) = 0;
  /// What is there already, without waiting: else would_block.
  virtual std::size_t read_some(std::span<std::byte> room, boost::system::error_code& ec) = 0;
  /// Takes what it can without waiting: would_block if that is nothing.
  virtual std::size_t write_some(std::span<const boost::asio::const_buffer> bytes,
                                 boost::system::error_code& ec) = 0;
  /// Has it taken bytes that it could not pass on yet? Then write_some() goes on with them.
  virtual bool holds_back() const { return false; }
  virtual void wait_writable(stream_user_ptr user) = 0;
  /// What was written goes out as far as that needs no waiting. Ends what is pending: its user may
  /// still be told, and has to know that it is over.
  virtual void close() noexcept = 0;

  /// The sentence for an error of this stream.
  virtual std::string explain(const boost::system::error_code& ec) const { return ec.message(); }
  virtual std::string_view kind() const noexcept = 0;  // "uds", "tcp", "tls".
  virtual int fd() const noexcept = 0;                 // For people; constant.
};
using stream_ptr = std::unique_ptr<stream>;

}  // namespace coppice::ipc
