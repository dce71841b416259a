// SPDX-License-Identifier: Apache-2.0
#include "ipc/uds.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <utility>

#include "core/alarm.hpp"
#include "core/reactor.hpp"
#include "coppice/errors.hpp"
#include "ipc/socket_link.hpp"

namespace coppice::ipc {

namespace asio = boost::asio;
using boost::system::error_code;
using protocol = asio::local::stream_protocol;

namespace {

class listener final : public uds_listener, public std::enable_shared_from_this<listener> {
 public:
  listener(std::shared_ptr<core::loop> on, address at, msg::aid self,
           std::shared_ptr<link_sink> sink, limits l)
      : loop_(std::move(on)), at_(std::move(at)), self_(std::move(self)), sink_(std::move(sink)),
        limits_(l), acceptor_(core::io_context_of(*loop_)) {}
  ~listener() override { close(); }

  void open() {
    const std::string path = at_.path();
    ::unlink(path.c_str());  // Ours by its name: it carries our pid.
    error_code ec;
    acceptor_.open(protocol(), ec);
    if (!ec) acceptor_.bind(protocol::endpoint(path), ec);
    if (!ec) acceptor_.listen(128, ec);
    if (ec) throw error(fmt::format("cannot listen on {}: {}", path, ec.message()));
    open_ = true;
    ::chmod(path.c_str(), 0600);
    accept();
  }

  const address& at() const noexcept override { return at_; }

  void close() noexcept override {
    if (!std::exchange(open_, false)) return;
    error_code ignored;
    acceptor_.close(ignored);
    retry_.clear();
    ::unlink(at_.path().c_str());
    sink_.reset();
  }

 private:
  void accept() {
    acceptor_.async_accept([me = shared_from_this()](error_code ec, protocol::socket s) {
      if (!me->open_) return;
      if (!ec) me->greet(std::move(s));
      // Out of fds or memory: what is already open goes on, and accepting again may work later. The
      // kernel keeps the connection in its backlog, so spinning on it would not help.
      if (ec && ec != asio::error::connection_aborted) return me->retry_later();
      me->accept();
    });
  }

  void retry_later() {
    retry_.set(std::chrono::milliseconds(50), [me = shared_from_this()] {
      if (me->open_) me->accept();
    });
  }

  void greet(protocol::socket s) {
    if (handshakes_ >= limits_.handshakes_max) return;  // Dropped: `s` closes.
    ++handshakes_;
    auto l = std::make_shared<socket_link>(loop_, std::move(s), self_, sink_, limits_);
    l->begin([me = shared_from_this()](std::exception_ptr, link_ptr) { --me->handshakes_; });
  }

  const std::shared_ptr<core::loop> loop_;
  const address at_;
  const msg::aid self_;
  std::shared_ptr<link_sink> sink_;
  const limits limits_;
  protocol::acceptor acceptor_;
  core::alarm retry_{*loop_};
  std::size_t handshakes_ = 0;
  bool open_ = false;
};

}  // namespace

std::shared_ptr<uds_listener> uds_listener::open(std::shared_ptr<core::loop> on, address at,
                                                 msg::aid self, std::shared_ptr<link_sink> sink,
                                                 limits l) {
  auto made = std::make_shared<listener>(std::move(on), std::move(at), std::move(self),
                                         std::move(sink), l);
  made->open();
  return made;
}

void connect_uds(std::shared_ptr<core::loop> on, const address& to, msg::aid self,
                 std::shared_ptr<link_sink> sink, limits l,
                 std::function<void(std::exception_ptr, link_ptr)> done) {
  protocol::socket s(core::io_context_of(*on));
  error_code ec;
  // Connecting to a unix socket does not wait for the other side: it fails, or is in its backlog. A
  // full backlog would block, so the socket is non-blocking and that too is an error.
  s.open(protocol(), ec);
  if (!ec) s.non_blocking(true, ec);
  try {
    if (!ec) s.connect(protocol::endpoint(to.path()), ec);
  } catch (const std::exception& e) {  // A path that is too long.
    return done(std::make_exception_ptr(transport_closed(
                    fmt::format("cannot connect to {}: {}", to.path(), e.what()))), nullptr);
  }
  if (ec)
    return done(std::make_exception_ptr(transport_closed(
                    fmt::format("cannot connect to {}: {}", to.path(), ec.message()))), nullptr);
  auto made = std::make_shared<socket_link>(std::move(on), std::move(s), self, std::move(sink), l);
  made->begin(std::move(done));
}

}  // namespace coppice::ipc
