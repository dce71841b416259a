// SPDX-License-Identifier: Apache-2.0
#include "ipc/tls_stream.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <utility>

namespace coppice::ipc {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

class tls_stream final : public stream {
 public:
  tls_stream(socket s, std::unique_ptr<tls_session> session)
      : socket_(std::move(s)), fd_(socket_.native_handle()), session_(std::move(session)) {
    error_code ignored;
    socket_.non_blocking(true, ignored);
  }

  void read(std::span<std::byte> room, stream_user_ptr user) override {
    error_code ec;
    const std::size_t n = decrypt(room, ec);
    if (ec == asio::error::would_block) return read_network(room, std::move(user));
    asio::post(socket_.get_executor(), [user = std::move(user), ec, n] { user->on_read(ec, n); });
  }

  std::size_t read_some(std::span<std::byte> room, error_code& ec) override {
    std::size_t n = decrypt(room, ec);
    while (ec == asio::error::would_block) {
      const std::size_t got = socket_.receive(asio::buffer(network_), 0, ec);
      if (ec) return 0;
      session_->received(std::as_bytes(std::span(network_)).first(got));
      n = decrypt(room, ec);
    }
    return n;
  }

  std::size_t write_some(std::span<const asio::const_buffer> bytes, error_code& ec) override {
    std::size_t taken = 0;
    ec = {};
    for (const auto& part : bytes) {
      std::span<const std::byte> rest(static_cast<const std::byte*>(part.data()), part.size());
      while (!rest.empty()) {
        send_network();
        if (session_->outgoing().size() > unsent_max) return some(taken, ec);
        std::size_t n = 0;
        switch (session_->write(rest.first(std::min(rest.size(), record_bytes)), n)) {
          case tls_session::outcome::done:
            rest = rest.subspan(n);
            taken += n;
            break;
          case tls_session::outcome::waits:
            return some(taken, ec);
          default:
            ec = asio::error::broken_pipe;
            return taken;
        }
      }
    }
    send_network();
    return holds_back() ? some(taken, ec) : taken;
  }
  bool holds_back() const override { return !session_->outgoing().empty(); }

  void wait_writable(stream_user_ptr user) override {
    // Until the handshake is over that is up to the reading side, else to the socket.
    writer_ = std::move(user);
    if (!session_->outgoing().empty()) return wait_for_socket(writer_);
    if (session_->established())
      asio::post(socket_.get_executor(), [this, keep = writer_] { tell_writer(); });
  }

  void close() noexcept override {
    writer_.reset();
    session_->say_goodbye();
    send_network();
    error_code ignored;
    socket_.close(ignored);
  }

  std::string explain(const error_code& ec) const override {
    return session_->why().empty() ? ec.message() : session_->why();
  }
  std::string_view kind() const noexcept override { return "tls"; }
  int fd() const noexcept override { return fd_; }

 private:
  static constexpr std::size_t unsent_max = 256 * 1024;
  static constexpr std::size_t record_bytes = 16 * 1024;  // TLS has none that are larger.

  static std::size_t some(std::size_t taken, error_code& ec) {
    if (taken == 0) ec = asio::error::would_block;
    return taken;
  }

  std::size_t decrypt(std::span<std::byte> room, error_code& ec) {
    std::size_t n = 0;
    const auto outcome = session_->read(room, n);
    send_network();  // The handshake's answers, or an alert.
    switch (outcome) {
      case tls_session::outcome::done:
        ec = {};
        break;
      case tls_session::outcome::waits:
        ec = asio::error::would_block;
        break;
      case tls_session::outcome::closed:
        ec = asio::error::eof;
        break;
      case tls_session::outcome::failed:
        ec = asio::error::connection_aborted;
        break;
    }
    return n;
  }

  void read_network(std::span<std::byte> room, stream_user_ptr user) {
    if (!session_->outgoing().empty()) wait_for_socket(user);
    socket_.async_read_some(asio::buffer(network_), [this, room, user = std::move(user)](
                                                        error_code ec, std::size_t got) mutable {
      if (ec) return user->on_read(ec, 0);
      session_->received(std::as_bytes(std::span(network_)).first(got));
      const std::size_t n = decrypt(room, ec);
      if (session_->established() && session_->outgoing().empty()) tell_writer();
      if (ec == asio::error::would_block) return read_network(room, std::move(user));
      user->on_read(ec, n);
    });
  }

  void send_network() noexcept {
    for (auto out = session_->outgoing(); !out.empty(); out = session_->outgoing()) {
      error_code ec;
      const std::size_t n = socket_.send(asio::buffer(out.data(), out.size()), 0, ec);
      if (ec) return;  // Full: see wait_for_socket(); or broken: reading will say so.
      session_->sent(n);
    }
  }

  // `user` keeps us.
  void wait_for_socket(stream_user_ptr user) {
    if (std::exchange(waiting_, true)) return;
    socket_.async_wait(socket::wait_write, [this, user = std::move(user)](error_code ec) {
      waiting_ = false;
      if (ec) return tell_writer();  // It will see what is wrong.
      send_network();
      if (!session_->outgoing().empty()) return wait_for_socket(user);
      if (session_->established()) tell_writer();
    });
  }

  void tell_writer() {
    if (const auto writer = std::exchange(writer_, nullptr)) writer->on_writable();
  }

  socket socket_;
  const int fd_;
  const std::unique_ptr<tls_session> session_;
  std::array<std::byte, 32 * 1024> network_;  // What came, on its way to the session.
  stream_user_ptr writer_;  // Who waits to write: it owns us, so close() lets go of it.
  bool waiting_ = false;    // For the socket to be writable.
};

}  // namespace

stream_ptr make_tls_stream(socket connected, std::unique_ptr<tls_session> session) {
  return std::make_unique<tls_stream>(std::move(connected), std::move(session));
}

}  // namespace coppice::ipc
