// SPDX-License-Identifier: Apache-2.0
// A link over a stream socket: framing, the handshake, batching of writes. Shared by transports.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "coppice/detail/task_node.hpp"
#include "core/loop.hpp"
#include "ipc/limits.hpp"
#include "ipc/link.hpp"
#include "ipc/stream.hpp"
#include "msg/yields.hpp"

namespace coppice::ipc {

/// Reads and writes frames of one connected stream: 4-byte little-endian length, one message.
///
/// First both sides send their Aid; until the peer's has come the link is silent and `done` is to
/// be told. After that messages go to the sink on the loop's thread. A frame that does not decode,
/// or is too long, closes this link and nothing else.
///
/// Writes of one turn of the loop leave in one system call. close() sends what was sent before as
/// far as the socket takes it without waiting; the rest is lost.
///
/// Owner: shared by ports and by its own pending operations, until close(). It keeps its loop,
/// which keeps those operations: who runs a loop closes the links on it before the run ends.
/// Thread: send() and close() any, the rest its loop's.
class socket_link final : public link, private stream_user {
 public:
  using handshake_done = std::function<void(std::exception_ptr, link_ptr)>;

  socket_link(std::shared_ptr<core::loop> on, stream_ptr s, const msg::aid& self,
              std::shared_ptr<link_sink> sink, limits l);
  ~socket_link() override;

  /// Begins the handshake; `done` is called once, on the loop's thread.
  void begin(handshake_done done);

  void send_values(const std::string& cid, std::vector<payload>&& values) override;
  void send(msg::message m, urgency u) override;
  void close(std::string why) override;
  bool is_local() const noexcept override { return false; }
  std::string describe() const override;

 private:
  struct chunk;  // A read buffer that decoded payloads share.
  class deadline final : public detail::timer {
   public:
    explicit deadline(socket_link& of) : of_(of) {}
    void fire() noexcept override { of_.handshake_late(); }

   private:
    socket_link& of_;
  };

  std::shared_ptr<socket_link> self() {
    return std::static_pointer_cast<socket_link>(shared_from_this());
  }
  void plan_flush();
  void flush();
  void wait_writable();
  stream_user_ptr user() { return {shared_from_this(), this}; }
  void read();
  void on_read(const boost::system::error_code& ec, std::size_t n) override;
  void on_writable() override;
  bool take_frames();                                 // False: closed meanwhile.
  bool take_frame(std::span<const std::byte> frame);  // Likewise.
  bool pass_values();                                 // Likewise.
  void append_later(msgpack::buffer frames);
  void make_room();
  void handshake_late() noexcept;
  void finish_handshake(std::exception_ptr e);
  void drop_sent();
  void shut(const std::string& why);  // Loop thread: the end of it.

  const std::shared_ptr<core::loop> loop_;
  const msg::aid self_aid_;
  const limits limits_;
  std::shared_ptr<link_sink> sink_;
  const stream_ptr stream_;
  handshake_done done_;  // Empty once the handshake is over.
  deadline deadline_{*this};
  bool open_ = true;
  bool connected_ = false;  // The sink has been told.

  std::shared_ptr<chunk> in_;
  std::size_t in_begin_ = 0, in_end_ = 0;  // Bytes of in_ that are not yet taken.

  msg::yield_cutter yields_;
  std::vector<payload> values_;  // Of yields_.cid(): cut, and not yet passed on.

  msgpack::buffer out_;
  std::size_t out_sent_ = 0;
  bool flush_planned_ = false;
  bool writing_ = false;  // Waits until the socket is writable.

  std::atomic<bool> closed_{false};
};

}  // namespace coppice::ipc
