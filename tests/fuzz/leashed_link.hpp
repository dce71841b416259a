// SPDX-License-Identifier: Apache-2.0
// A link that is fed step by step, without a socket, and what it promises its sink.
#pragma once

#include <algorithm>
// tidy: allow library-home: a stream says by Asio's codes how it went
#include <boost/asio/error.hpp>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coppice/errors.hpp"
#include "coppice/time.hpp"
#include "core/loop.hpp"
#include "fuzz.hpp"
#include "ipc/socket_link.hpp"
#include "ipc/stream.hpp"

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

/// A peer's bytes without a socket: what it writes is read at once, what it is sent waits until it
/// reads.
class leashed_stream final : public ipc::stream {
 public:
  static constexpr std::size_t room_max = 64 * 1024;  // For what the peer has not read yet.

  struct peer {  // Shared by the stream, which its link owns, and the test.
    std::string unread;
    std::size_t room = room_max;
    bool gone = false;    // Reads no more.
    bool closed = false;  // By the link.
    std::span<std::byte> into = {};
    ipc::stream_user_ptr reader, writer;  // Who waits.
  };
  explicit leashed_stream(std::shared_ptr<peer> p) : peer_(std::move(p)) {}

  void read(std::span<std::byte> into, ipc::stream_user_ptr user) override {
    COPPICE_ASSERT(!peer_->closed && !peer_->reader, "one read at a time");
    COPPICE_ASSERT(!into.empty(), "and with room");
    peer_->into = into;
    peer_->reader = std::move(user);
  }
  std::size_t read_some(std::span<std::byte>, boost::system::error_code& ec) override {
    ec = boost::asio::error::would_block;
    return 0;
  }
  std::size_t write_some(std::span<const boost::asio::const_buffer> bytes,
                         boost::system::error_code& ec) override {
    COPPICE_ASSERT(!peer_->closed, "nothing is written after the end");
    std::size_t all = 0;
    for (const auto& part : bytes) {
      const std::size_t n = std::min(part.size(), peer_->room);
      const auto* from = static_cast<const char*>(part.data());
      peer_->unread.append(from, n);
      peer_->room -= n;
      all += n;
    }
    if (peer_->gone) ec = boost::asio::error::broken_pipe;
    if (!ec && all == 0) ec = boost::asio::error::would_block;
    return ec ? 0 : all;
  }
  void wait_writable(ipc::stream_user_ptr user) override {
    COPPICE_ASSERT(!peer_->closed && !peer_->writer, "one waits at a time");
    peer_->writer = std::move(user);
  }
  void close() noexcept override {
    peer_->closed = true;
    peer_->reader = peer_->writer = nullptr;
  }
  std::string_view kind() const noexcept override { return "fuzz"; }
  int fd() const noexcept override { return -1; }

 private:
  const std::shared_ptr<peer> peer_;
};

/// Made and used on the loop's thread while the loop runs.
class leashed_link {
 public:
  leashed_link(std::shared_ptr<core::loop> loop, ipc::limits limits) {
    auto stream = std::make_unique<leashed_stream>(peer_);
    link = std::make_shared<ipc::socket_link>(std::move(loop), std::move(stream),
                                              aid_of("me", true), sink, limits);
    link->begin([this](std::exception_ptr e, ipc::link_ptr l) {
      COPPICE_ASSERT(done++ == 0, "`done` is called once");
      COPPICE_ASSERT((e == nullptr) == (l != nullptr), "with a link or with the reason");
      COPPICE_ASSERT((l != nullptr) == sink->connected, "a link that the sink knows");
    });
  }

  /// The peer writes. What the link does not read any more is lost.
  void send(std::string_view bytes) {
    while (!bytes.empty() && peer_->reader) {
      const std::size_t n = std::min(bytes.size(), peer_->into.size());
      std::memcpy(peer_->into.data(), bytes.data(), n);
      bytes.remove_prefix(n);
      tell({}, n);
    }
  }
  void shut_down() { tell(boost::asio::error::eof, 0); }
  void close_peer() {
    peer_->gone = true;
    tell(boost::asio::error::connection_reset, 0);
    read(0);
  }
  /// What the peer reads now, at most `n` bytes.
  std::string read(std::size_t n) {
    std::string got = peer_->unread.substr(0, n);
    peer_->unread.erase(0, n);
    peer_->room += got.size();
    if (const auto user = std::exchange(peer_->writer, nullptr)) user->on_writable();
    return got;
  }
  bool is_over() const { return sink->closed || (done != 0 && !sink->connected); }

  std::shared_ptr<strict_sink> sink = std::make_shared<strict_sink>();
  std::shared_ptr<ipc::socket_link> link;
  int done = 0;

 private:
  void tell(const boost::system::error_code& ec, std::size_t n) {
    if (const auto user = std::exchange(peer_->reader, nullptr)) user->on_read(ec, n);
  }

  std::shared_ptr<leashed_stream::peer> peer_ = std::make_shared<leashed_stream::peer>();
};

/// Closes the link and lets go of it: nothing else may hold it, nor wait for anything.
inline task<> expect_released(std::optional<leashed_link>& leash) {
  const std::weak_ptr<ipc::socket_link> seen = leash->link;
  const std::weak_ptr<strict_sink> sink = leash->sink;
  leash->link->close("the end");
  co_await checkpoint();
  COPPICE_ASSERT(leash->done == 1, "every handshake ends");
  COPPICE_ASSERT(leash->sink->connected == leash->sink->closed, "every connection ends");
  leash.reset();
  COPPICE_ASSERT(seen.expired(), "something kept a link that has closed");
  COPPICE_ASSERT(sink.expired(), "something kept the sink of a link that has closed");
}

}  // namespace coppice::fuzz
