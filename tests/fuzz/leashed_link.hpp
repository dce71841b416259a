// SPDX-License-Identifier: Apache-2.0
// A socket link whose loop runs step by step, and the other end of its socket.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "coppice/errors.hpp"
#include "coppice/time.hpp"
#include "core/loop.hpp"
#include "core/reactor.hpp"
#include "fuzz.hpp"
#include "ipc/socket_link.hpp"

namespace coppice::fuzz {

inline msg::aid aid_of(const std::string& name, bool ours) {
  msg::aid a;
  a.name = name;
  a.uuid = "uuid-of-" + name;
  a.pid = 1;
  a.is_registrar = false;
  if (ours) a.extensions.emplace();
  return a;
}

inline std::string frame_of(const msg::message& m) {
  msgpack::buffer out;
  msg::encode_frame(m, out, msg::dialect::coppice);
  return string_of(out);
}

/// Holds a link to what it promises its sink. Messages are kept, and with them the link's buffers.
class strict_sink final : public ipc::link_sink {
 public:
  void on_connected(const ipc::link_ptr& l) override {
    COPPICE_ASSERT(!connected && !closed, "on_connected() is first, and once");
    connected = true;
    COPPICE_ASSERT(!l->peer().is_probe, "a probe is no peer");
  }
  void on_message(const ipc::link_ptr&, msg::message&& m, ipc::urgency) override {
    COPPICE_ASSERT(connected && !closed, "messages come between the beginning and the end");
    messages.push_back(std::move(m));
  }
  void on_closed(const ipc::link_ptr&, const std::string& sentence) override {
    COPPICE_ASSERT(connected && !closed, "on_closed() is last, and once");
    COPPICE_ASSERT(!sentence.empty(), "an end says why");
    closed = true;
    why = sentence;
  }

  bool connected = false, closed = false;
  std::string why;
  std::vector<msg::message> messages;
};

/// Made and used on the loop's thread while the loop runs.
class leashed_link {
 public:
  leashed_link(std::shared_ptr<core::loop> loop, ipc::limits limits) : loop_(std::move(loop)) {
    int ends[2];
    COPPICE_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0,
                   "a pair of sockets");
    peer_.reset(ends[1]);
    ipc::socket_link::socket s(core::io_context_of(*loop_));
    s.assign(ipc::socket_link::socket::protocol_type(), ends[0]);
    link =
        std::make_shared<ipc::socket_link>(loop_, std::move(s), aid_of("me", true), sink, limits);
    link->begin([this](std::exception_ptr e, ipc::link_ptr l) {
      COPPICE_ASSERT(done++ == 0, "`done` is called once");
      COPPICE_ASSERT((e == nullptr) == (l != nullptr), "with a link or with the reason");
      COPPICE_ASSERT((l != nullptr) == sink->connected, "a link that the sink knows");
    });
  }

  /// What the peer writes. False: the link has closed its socket, or does not read.
  bool send(std::string_view bytes) {
    while (peer_ && !bytes.empty()) {
      const auto n = ::send(peer_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
      poll();
    }
    return bytes.empty();
  }
  void shut_down() {
    if (peer_) ::shutdown(peer_.get(), SHUT_WR);
    poll();
  }
  void close_peer() {
    peer_.reset();
    poll();
  }
  /// What the peer reads now, at most `n` bytes.
  std::string receive(std::size_t n) {
    std::string got(n, '\0');
    const auto have = peer_ ? ::recv(peer_.get(), got.data(), n, MSG_DONTWAIT) : -1;
    got.resize(have > 0 ? static_cast<std::size_t>(have) : 0);
    poll();
    return got;
  }
  /// Runs what is ready. Timers and what is sent wait for a turn of the loop.
  void poll() { loop_->io().poll(); }
  bool is_over() const { return sink->closed || (done != 0 && !sink->connected); }

  std::shared_ptr<strict_sink> sink = std::make_shared<strict_sink>();
  std::shared_ptr<ipc::socket_link> link;
  int done = 0;

 private:
  std::shared_ptr<core::loop> loop_;
  base::unique_fd peer_;
};

/// Closes the link and lets go of it: nothing else may hold it, nor wait for anything.
inline task<> expect_released(std::optional<leashed_link>& leash) {
  const std::weak_ptr<ipc::socket_link> seen = leash->link;
  const std::weak_ptr<strict_sink> sink = leash->sink;
  leash->link->close("the end");
  co_await checkpoint();
  leash->poll();
  COPPICE_ASSERT(leash->done == 1, "every handshake ends");
  COPPICE_ASSERT(leash->sink->connected == leash->sink->closed, "every connection ends");
  leash.reset();
  COPPICE_ASSERT(seen.expired(), "something kept a link that has closed");
  COPPICE_ASSERT(sink.expired(), "something kept the sink of a link that has closed");
}

}  // namespace coppice::fuzz
