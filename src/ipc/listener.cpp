// SPDX-License-Identifier: Apache-2.0
#include "ipc/listener.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <list>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/fd.hpp"
#include "base/process_stat.hpp"
#include "coppice/errors.hpp"
#include "core/alarm.hpp"
#include "core/reactor.hpp"
#include "ipc/socket_link.hpp"
#include "ipc/sockets.hpp"

namespace coppice::ipc {

using boost::system::error_code;

namespace {

class socket_listener final : public listener,
                              public std::enable_shared_from_this<socket_listener> {
 public:
  socket_listener(std::shared_ptr<core::loop> on, const address& at, msg::aid self,
                  std::shared_ptr<link_sink> sink, const limits& l,
                  const transport_options& options)
      : loop_(std::move(on)),
        at_(at),
        self_(std::move(self)),
        sink_(std::move(sink)),
        limits_(l),
        options_(options),
        socket_(core::io_context_of(*loop_)) {}
  ~socket_listener() override { close(); }

  void open() {
    try {
      const auto where = endpoint_of(at_);
      if (!where) throw error("a host to listen at has to be a numeric address");
      if (auto why = exposure(*where, options_)) throw error(*why);
      bind(*where);
    } catch (const std::exception& e) {
      const auto* kernel = dynamic_cast<const std::system_error*>(&e);
      throw error(fmt::format("cannot listen on {}: {}", at_.describe(),
                              kernel ? kernel->code().message() : e.what()));
    }
    open_ = true;
    wait();
  }

  const address& at() const noexcept override { return at_; }

  void close() noexcept override {
    if (!std::exchange(open_, false)) return;
    error_code ignored;
    socket_.close(ignored);
    retry_.clear();
    if (at_.as_uds()) ::unlink(at_.describe().c_str());
    sink_.reset();
    for (const auto& l : std::list<link_ptr>(greeted_)) l->close("the listener closed");
  }

 private:
  [[noreturn]] static void failed() { throw std::system_error(errno, std::system_category()); }

  void bind(const endpoint& where) {
    base::unique_fd fd = open_socket(where);
    const int on = 1;
    // Else a port could not be had again for a minute after its last connection.
    if (at_.as_tcp()) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const auto try_bind = [&] {
      return ::bind(fd.get(), where.data(), static_cast<socklen_t>(where.size())) == 0;
    };
    const std::string path = at_.as_uds() ? at_.describe() : "";
    if (!try_bind()) {
      if (errno != EADDRINUSE || path.empty() || !nobody_listens(path)) {
        errno = path.empty() ? errno : EADDRINUSE;
        failed();
      }
      ::unlink(path.c_str());
      if (!try_bind()) failed();
    }
    if (!path.empty()) ::chmod(path.c_str(), 0600);
    error_code ec;
    if (::listen(fd.get(), backlog) == 0) {
      at_ = address_of(fd.get(), at_);
      socket_.assign(where.protocol(), fd.get(), ec);
    } else {
      ec.assign(errno, boost::system::system_category());
    }
    if (ec && !path.empty()) ::unlink(path.c_str());
    if (ec) throw std::system_error(ec);
    (void)fd.release();
  }

  void wait() {
    socket_.async_wait(socket::wait_read, [me = shared_from_this()](const error_code&) {
      if (me->open_) me->accept();
    });
  }

  // One at a time: the words of those who came before are read in between, so that a crowd that
  // comes at once is no crowd of silent peers.
  void accept() {
    base::unique_fd fd(
        ::accept4(socket_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      greet(std::move(fd));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // Out of fds or memory: what is already open goes on, and accepting again may work later. The
      // kernel keeps the connection in its backlog, so spinning on it would not help.
      return retry_later();
    }  // Else the connection was gone before we came to it.
    if (open_) wait();
  }

  void retry_later() {
    // Weak: a cleared alarm keeps its function, and that would keep us, who keep the alarm.
    retry_.set(std::chrono::milliseconds(50), [weak = weak_from_this()] {
      if (auto me = weak.lock(); me && me->open_) me->accept();
    });
  }

  std::unique_ptr<tls_session> tls() const {
    return at_.as_tcp() && options_.tls ? options_.tls->accept() : nullptr;
  }

  void greet(base::unique_fd fd) {
    if (auto why = stranger(fd.get(), options_)) return refuse(fd.get(), *why);
    ipc::socket s(core::io_context_of(*loop_));
    error_code ec;
    s.assign(socket_protocol(at_.as_tcp() ? AF_INET : AF_UNIX, 0), fd.get(), ec);
    if (ec) return;  // No memory for it.
    (void)fd.release();
    // Not the new one: then peers that connect and say nothing would keep everybody else out.
    if (greeted_.size() >= limits_.handshakes_max)
      greeted_.front()->close("too many handshakes at once (handshakes_max)");
    auto l = std::make_shared<socket_link>(loop_, make_stream(std::move(s), limits_, tls()), self_,
                                           sink_, limits_);
    const auto place = greeted_.insert(greeted_.end(), l);
    l->begin([me = shared_from_this(), place](std::exception_ptr, link_ptr) {
      me->greeted_.erase(place);
    });
  }

  // In place of our Aid: an error that concerns the whole connection. The peer's handshake fails
  // with it.
  void refuse(int fd, const std::string& why) {
    msg::boxed_error e;
    e.src_uid = {self_.name, self_.uuid};
    e.src_type_str = e.boxed_type_str = "TransportClosed";
    e.relay_path = {e.src_uid};
    e.message = why;
    msgpack::buffer out;
    msg::encode_frame(e, out);
    (void)::send(fd, out.data(), out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  // Beyond it connects fail at once: room for every child of a program that is busy for a moment.
  static constexpr int backlog = 4096;

  const std::shared_ptr<core::loop> loop_;
  address at_;
  const msg::aid self_;
  std::shared_ptr<link_sink> sink_;
  const limits limits_;
  const transport_options options_;
  ipc::socket socket_;
  core::alarm retry_{*loop_};
  // In handshake, the oldest first; each takes itself out at its end.
  std::list<link_ptr> greeted_;
  bool open_ = false;
};

// Clocks are set.
constexpr std::chrono::seconds clock_steps_max{10};

/// Is whoever made this file, and had this pid then, certainly not there any more?
bool is_gone(pid_t pid, const std::string& path) {
  if (::kill(pid, 0) != 0) return errno == ESRCH;
  struct stat made{};
  const auto now_there = base::stat_of(pid);
  if (!now_there || ::stat(path.c_str(), &made) != 0) return false;
  // Whoever inherits an orphan may take its time, but its descriptors are closed.
  if (now_there->is_zombie) return true;
  // A pid is given again, soonest after a boot: to a process that is younger than the file.
  return base::started_at(*now_there) >
         std::chrono::system_clock::from_time_t(made.st_mtime) + clock_steps_max;
}

}  // namespace

std::shared_ptr<listener> listener::open(std::shared_ptr<core::loop> on, const address& at,
                                         msg::aid self, std::shared_ptr<link_sink> sink,
                                         const limits& l, const transport_options& options) {
  auto made = std::make_shared<socket_listener>(std::move(on), at, std::move(self), std::move(sink),
                                                l, options);
  made->open();
  return made;
}

bool nobody_listens(const std::string& path) {
  sockaddr_un where{};
  if (path.size() >= sizeof where.sun_path) return false;
  where.sun_family = AF_UNIX;
  std::memcpy(where.sun_path, path.c_str(), path.size());
  const base::unique_fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!s) return false;
  const auto* at = reinterpret_cast<const sockaddr*>(&where);
  return ::connect(s.get(), at, sizeof where) != 0 && (errno == ECONNREFUSED || errno == ENOENT);
}

pid_t pid_in_name(std::string_view file) noexcept {
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

std::vector<std::string> dead_sockets() {
  std::vector<std::string> dead;
  for (const auto& entry : std::filesystem::directory_iterator(runtime_directory())) {
    std::string path = entry.path().string();
    const pid_t pid = pid_in_name(path);
    // Both: a pid may mean another process elsewhere, where the directory is shared between
    // containers, and a socket refuses for a moment between its bind and its listen.
    if (pid != 0 && is_gone(pid, path) && nobody_listens(path)) dead.push_back(std::move(path));
  }
  std::ranges::sort(dead);
  return dead;
}

void remove_dead_sockets() noexcept {
  try {
    for (const auto& path : dead_sockets()) ::unlink(path.c_str());
  } catch (const std::exception&) {  // Not ours, or gone meanwhile: there is nothing to tidy up.
  }
}

}  // namespace coppice::ipc
