// SPDX-License-Identifier: Apache-2.0
#include "ipc/uds.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <list>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "coppice/errors.hpp"
#include "core/alarm.hpp"
#include "core/reactor.hpp"
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
      : loop_(std::move(on)),
        at_(std::move(at)),
        self_(std::move(self)),
        sink_(std::move(sink)),
        limits_(l),
        acceptor_(core::io_context_of(*loop_)) {}
  ~listener() override { close(); }

  void open() {
    const std::string path = at_.path();
    error_code ec;
    acceptor_.open(protocol(), ec);
    if (!ec) bind(path, ec);
    if (ec) throw error(fmt::format("cannot listen on {}: {}", path, ec.message()));
    open_ = true;
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
    for (const auto& l : std::list<link_ptr>(greeted_)) l->close("the listener closed");
  }

 private:
  void bind(const std::string& path, error_code& ec) {
    protocol::endpoint where;
    try {
      where.path(path);
    } catch (const std::exception& e) {  // Too long.
      throw error(fmt::format("cannot listen on {}: {}", path, e.what()));
    }
    ::unlink(path.c_str());  // Ours by its name: it carries our pid.
    acceptor_.bind(where, ec);
    if (ec) return;
    ::chmod(path.c_str(), 0600);
    acceptor_.listen(backlog, ec);
    if (ec) ::unlink(path.c_str());
  }

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
    // Weak: a cleared alarm keeps its function, and that would keep us, who keep the alarm.
    retry_.set(std::chrono::milliseconds(50), [weak = weak_from_this()] {
      if (auto me = weak.lock(); me && me->open_) me->accept();
    });
  }

  void greet(protocol::socket s) {
    // Not the new one: then peers that connect and say nothing would keep everybody else out.
    if (greeted_.size() >= limits_.handshakes_max)
      greeted_.front()->close("too many handshakes at once (handshakes_max)");
    auto l = std::make_shared<socket_link>(loop_, std::move(s), self_, sink_, limits_);
    const auto place = greeted_.insert(greeted_.end(), l);
    l->begin([me = shared_from_this(), place](std::exception_ptr, link_ptr) {
      me->greeted_.erase(place);
    });
  }

  // Beyond it connects fail at once: room for every child of a program that is busy for a moment.
  static constexpr int backlog = 4096;

  const std::shared_ptr<core::loop> loop_;
  const address at_;
  const msg::aid self_;
  std::shared_ptr<link_sink> sink_;
  const limits limits_;
  protocol::acceptor acceptor_;
  core::alarm retry_{*loop_};
  // In handshake, the oldest first; each takes itself out at its end.
  std::list<link_ptr> greeted_;
  bool open_ = false;
};

bool is_gone(pid_t pid) { return ::kill(pid, 0) != 0 && errno == ESRCH; }

/// Refused: the file is there, and no process has it open to listen.
bool nobody_listens(const std::string& path) {
  sockaddr_un where{};
  if (path.size() >= sizeof where.sun_path) return false;
  where.sun_family = AF_UNIX;
  std::memcpy(where.sun_path, path.c_str(), path.size());
  const base::unique_fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!s) return false;
  const auto* at = reinterpret_cast<const sockaddr*>(&where);
  return ::connect(s.get(), at, sizeof where) != 0 && errno == ECONNREFUSED;
}

/// The N of "name@N.sock", or 0.
pid_t pid_in_name(std::string_view file) {
  constexpr std::string_view tail = ".sock";
  if (!file.ends_with(tail)) return 0;
  file.remove_suffix(tail.size());
  const auto at = file.rfind('@');
  if (at == file.npos) return 0;
  const char* end = file.data() + file.size();
  pid_t pid = 0;
  const auto [stopped, error] = std::from_chars(file.data() + at + 1, end, pid);
  return error == std::errc() && stopped == end && pid > 0 ? pid : 0;
}

}  // namespace

std::shared_ptr<uds_listener> uds_listener::open(std::shared_ptr<core::loop> on, address at,
                                                 msg::aid self, std::shared_ptr<link_sink> sink,
                                                 limits l) {
  auto made =
      std::make_shared<listener>(std::move(on), std::move(at), std::move(self), std::move(sink), l);
  made->open();
  return made;
}

link_ptr connect_uds(std::shared_ptr<core::loop> on, const address& to, msg::aid self,
                     std::shared_ptr<link_sink> sink, limits l,
                     std::function<void(std::exception_ptr, link_ptr)> done) {
  const auto refuse = [&](const std::string& why) -> link_ptr {
    done(std::make_exception_ptr(
             transport_closed(fmt::format("cannot connect to {}: {}", to.path(), why))),
         nullptr);
    return nullptr;
  };
  protocol::socket s(core::io_context_of(*on));
  error_code ec;
  // Connecting to a unix socket does not wait for the other side: it fails, or is in its backlog. A
  // full backlog would block, so the socket is non-blocking and that too is an error.
  s.open(protocol(), ec);
  if (!ec) s.non_blocking(true, ec);
  try {
    if (!ec) s.connect(protocol::endpoint(to.path()), ec);
  } catch (const std::exception& e) {  // A path that is too long.
    return refuse(e.what());
  }
  if (ec) return refuse(ec.message());
  auto made = std::make_shared<socket_link>(std::move(on), std::move(s), self, std::move(sink), l);
  made->begin(std::move(done));
  return made;
}

void remove_dead_sockets() noexcept {
  try {
    for (const auto& entry : std::filesystem::directory_iterator(runtime_directory())) {
      const std::string path = entry.path().string();
      const pid_t pid = pid_in_name(path);
      // Both: a pid may mean another process elsewhere, where the directory is shared between
      // containers, and a socket refuses for a moment between its bind and its listen.
      if (pid != 0 && is_gone(pid) && nobody_listens(path)) ::unlink(path.c_str());
    }
  } catch (const std::exception&) {  // Not ours, or gone meanwhile: there is nothing to tidy up.
  }
}

}  // namespace coppice::ipc
