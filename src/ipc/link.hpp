// SPDX-License-Identifier: Apache-2.0
// A connection between two actors as both see it, whatever carries it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "msg/messages.hpp"

namespace coppice::ipc {

class link;
using link_ptr = std::shared_ptr<link>;  // Shared: both ends' ports and a transport's tasks use it.

/// Does the receiver have to act on a message at once, or may it lie until the next one?
enum class urgency : std::uint8_t {
  now,
  lazy,  // A StartAck to a plain call: nobody waits for it, so it need not wake anybody.
};

/// An actor's side of its links: what its port is told.
///
/// Thread: memory links call on the sender's thread, socket links on their loop's. An
/// implementation must not block, run user code, attach to an interpreter, or call back into the
/// sender's port while it holds its own lock.
class link_sink {
 public:
  virtual ~link_sink() = default;

  /// The handshake is over and `l->peer()` is known. First, and once per link.
  virtual void on_connected(const link_ptr& l) = 0;
  virtual void on_message(const link_ptr& from, msg::message&& m, urgency u) = 0;
  /// Values of a stream: the same as a Yield for each, one after the other.
  virtual void on_values(const link_ptr& from, const std::string& cid,
                         std::vector<payload>&& values) {
    for (auto& v : values) on_message(from, msg::yield{cid, std::move(v)}, urgency::now);
  }
  /// Last, and once per link: nothing more will come, nothing more can be sent. `why` is a sentence
  /// for people: "connection reset by peer", "frame of 5 bytes: unknown msg_type 'Foo'".
  virtual void on_closed(const link_ptr& from, const std::string& why) = 0;
};

/// One connection. send() and close() may be called from any thread and never block.
///
/// Messages of one sending thread keep their order. What is sent after the end is dropped: the sink
/// has been told, or is being told. Owner: the two ports, shared.
class link : public std::enable_shared_from_this<link> {
 public:
  virtual ~link() = default;
  link(const link&) = delete;
  link& operator=(const link&) = delete;

  virtual void send(msg::message m, urgency u = urgency::now) = 0;
  /// Values of a stream: the same as a Yield for each, one after the other. For the end of a turn.
  virtual void send_values(const std::string& cid, std::vector<payload>&& values) {
    for (auto& v : values) send(msg::yield{cid, std::move(v)});
  }
  virtual void close(std::string why) = 0;     // Idempotent. Both sinks get on_closed().
  virtual bool is_local() const noexcept = 0;  // Memory transport: payloads are shared, not copied.
  virtual std::string describe() const = 0;    // "memory to worker", "uds to worker fd 7".

  const msg::aid& peer() const noexcept { return peer_; }
  uid peer_uid() const { return {peer_.name, peer_.uuid}; }

 protected:
  link() = default;
  msg::aid peer_;  // Constant once the handshake is over.
};

}  // namespace coppice::ipc
