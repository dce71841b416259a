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
#include "ipc/frame_reader.hpp"
#include "ipc/limits.hpp"
#include "ipc/link.hpp"
#include "ipc/out_queue.hpp"
#include "ipc/stream.hpp"
#include "msg/yields.hpp"

namespace coppice::ipc {

/// Reads and writes frames of one connected stream: 4-byte little-endian length, one message.
///
/// First both sides send their Aid; until the peer's has come the link is silent and `done` is to
/// be told. After that messages go to the sink on the loop's thread. A frame that does not decode,
/// is too long, or does not come to its end within `frame_within`, closes this link and nothing
/// else.
///
/// Writes of one turn of the loop leave in one system call; a large payload that ends its frame is
/// not copied. close() sends what was sent before as far as the socket takes it without waiting;
/// the rest is lost.
///
/// A peer that takes nothing of what waits for it for `peer_silence_max` is given up. One that
/// announces "ping" is asked whether it is there once nothing has come from it for a third of that
/// bound, and given up when it has not said a word by then. Pings are answered here: no sink sees
/// them. Time in which this process did not run counts against nobody: what has arrived meanwhile
/// is looked at first.
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

  void send(msg::message m, urgency u) override;
  void send_values(const std::string& cid, std::vector<payload>&& values) override;
  void close(std::string why) override;
  bool is_local() const noexcept override { return false; }
  std::string describe() const override;

 private:
  using action = void (socket_link::*)();
  class timer final : public detail::timer {
   public:
    timer(socket_link& of, action what) : of_(of), what_(what) {}
    void fire() noexcept override { (of_.*what_)(); }

   private:
    socket_link& of_;
    const action what_;
  };

  std::shared_ptr<socket_link> self() {
    return std::static_pointer_cast<socket_link>(shared_from_this());
  }
  msg::dialect dialect() const noexcept {
    return peer_.extensions ? msg::dialect::coppice : msg::dialect::tractor;
  }
  void append_later(encoded&& frames);
  void cannot_encode(const error& e);
  void plan_flush();
  bool write_some();
  void flush();
  stream_user_ptr user() { return {shared_from_this(), this}; }
  void read();
  void on_read(const boost::system::error_code& ec, std::size_t n) override;
  void on_writable() override;
  void stream_ended(const boost::system::error_code& ec);
  bool take_frames();                                 // False: closed meanwhile.
  bool take_frame(std::span<const std::byte> bytes);  // Likewise.
  bool pass_values();                                 // Likewise.
  void take_aid(msg::aid&& theirs);
  void handshake_late();
  void finish_handshake(std::exception_ptr e);
  void watch();
  void look();
  std::string overdue(time_point now, time_point& next);
  void shut(const std::string& why);  // Loop thread: the end of it.

  const std::shared_ptr<core::loop> loop_;
  const msg::aid self_aid_;
  const limits limits_;
  std::shared_ptr<link_sink> sink_;
  const stream_ptr stream_;
  handshake_done done_;  // Empty once the handshake is over.
  timer deadline_{*this, &socket_link::handshake_late};
  bool open_ = true;
  bool connected_ = false;  // The sink has been told.

  frame_reader in_;
  msg::yield_cutter yields_;
  std::vector<payload> values_;   // Of yields_.cid(): cut, and not yet passed on.
  std::size_t usual_values_ = 0;  // At once: the next run is as long.
  out_queue out_;
  bool flush_planned_ = false;
  bool writing_ = false;  // Waits until the socket is writable.

  // Silence: looked at now and then while there is something to watch, not at each byte.
  timer look_{*this, &socket_link::look};
  bool watching_ = false;  // look_ is armed.
  bool suspected_ = false;
  bool pings_ = false;   // The peer answers them.
  bool pinged_ = false;  // And was, since it was last heard.
  std::uint64_t pings_sent_ = 0;
  time_point heard_{};  // The last bytes came.
  time_point pinged_at_{};
  time_point progress_{};     // Bytes left, or had to begin to wait.
  time_point frame_began_{};  // What is here of a frame began to come.

  std::atomic<bool> closed_{false};
};

}  // namespace coppice::ipc
