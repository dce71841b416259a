// SPDX-License-Identifier: Apache-2.0
#include "ipc/sockets.hpp"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <system_error>
#include <utility>

#include "coppice/errors.hpp"
#include "ipc/tls_stream.hpp"

namespace coppice::ipc {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

class plain_stream final : public stream {
 public:
  plain_stream(socket s, std::string_view kind)
      : socket_(std::move(s)), fd_(socket_.native_handle()), kind_(kind) {
    error_code ignored;  // A socket that is none any more says so at its first read.
    socket_.non_blocking(true, ignored);
  }

  void read(std::span<std::byte> room, stream_user_ptr user) override {
    socket_.async_read_some(
        asio::buffer(room.data(), room.size()),
        [user = std::move(user)](const error_code& ec, std::size_t n) { user->on_read(ec, n); });
  }
  std::size_t read_some(std::span<std::byte> room, error_code& ec) override {
    return socket_.receive(asio::buffer(room.data(), room.size()), 0, ec);
  }
  std::size_t write_some(std::span<const asio::const_buffer> bytes, error_code& ec) override {
    return socket_.send(bytes, 0, ec);
  }
  void wait_writable(stream_user_ptr user) override {
    socket_.async_wait(socket::wait_write,
                       [user = std::move(user)](const error_code&) { user->on_writable(); });
  }
  void close() noexcept override {
    error_code ignored;
    socket_.close(ignored);
  }
  std::string_view kind() const noexcept override { return kind_; }
  int fd() const noexcept override { return fd_; }

 private:
  socket socket_;
  const int fd_;
  const std::string_view kind_;
};

asio::ip::address ip_of(const endpoint& at) {
  if (at.protocol().family() == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(at.data());
    return asio::ip::address_v4(ntohl(in->sin_addr.s_addr));
  }
  const auto* in = reinterpret_cast<const sockaddr_in6*>(at.data());
  asio::ip::address_v6::bytes_type bytes;
  std::copy_n(in->sin6_addr.s6_addr, bytes.size(), bytes.begin());
  const asio::ip::address_v6 six(bytes);
  if (six.is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, six);
  return six;
}

void set(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof value);  // Of our own sockets: it does not fail.
}

// A network that drops everything, or a host that is gone, ends the connection after about `bound`:
// with bytes under way the kernel counts from the oldest that was not acknowledged, else from the
// last word, after which it probes each second.
void notice_silence(int fd, duration bound) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(bound).count();
  const int limit = static_cast<int>(std::clamp<std::int64_t>(ms, 1, 1 << 30));
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, limit);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, std::clamp(limit / 2000, 1, 3600));
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, std::clamp(limit / 10'000, 1, 3600));
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, 100);  // The time decides, not the number.
}

bool is_tcp(int family) { return family == AF_INET || family == AF_INET6; }

int family_of(int fd) {
  int family = 0;
  socklen_t size = sizeof family;
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 ? family : AF_UNSPEC;
}

}  // namespace

std::optional<endpoint> endpoint_of(const address& at) {
  if (const auto* u = at.as_uds()) {
    asio::local::stream_protocol::endpoint where;
    try {
      where.path(u->directory + "/" + u->file);
    } catch (const std::exception& e) {  // Too long.
      throw error(e.what());
    }
    return endpoint(where);
  }
  const auto& [host, port] = *at.as_tcp();
  error_code no;
  const auto ip = asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, no);
  if (no) return std::nullopt;
  return endpoint(asio::ip::tcp::endpoint(ip, port));
}

address address_of(int fd, const address& asked) {
  const auto* tcp = asked.as_tcp();
  sockaddr_in6 at{};
  socklen_t size = sizeof at;
  if (!tcp || ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) != 0) return asked;
  return address::tcp(tcp->host, ntohs(at.sin6_port));  // At the same place in a sockaddr_in.
}

std::vector<endpoint> look_up(const msg::tcp_address& at) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
  addrinfo* first = nullptr;
  const int status =
      ::getaddrinfo(at.host.c_str(), std::to_string(at.port).c_str(), &hints, &first);
  if (status != 0)
    throw error(fmt::format(
        "no address is known for the host '{}': {}", at.host,
        status == EAI_SYSTEM ? std::system_category().message(errno) : ::gai_strerror(status)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(first, ::freeaddrinfo);
  std::vector<endpoint> out;
  for (const addrinfo* one = first; one; one = one->ai_next)
    if (is_tcp(one->ai_family)) out.emplace_back(one->ai_addr, one->ai_addrlen, IPPROTO_TCP);
  return out;
}

base::unique_fd open_socket(const endpoint& to) {
  const auto protocol = to.protocol();
  base::unique_fd fd(
      ::socket(protocol.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol.protocol()));
  if (!fd) throw std::system_error(errno, std::system_category(), "socket");
  return fd;
}

std::optional<std::string> exposure(const endpoint& at, const transport_options& options) {
  if (!is_tcp(at.protocol().family()) || options.tls || options.insecure_tcp == permission::allow ||
      ip_of(at).is_loopback())
    return std::nullopt;
  return "tcp beyond loopback without TLS is open to whoever reaches it: use TLS, or allow it with "
         "insecure_tcp = allow";
}

std::optional<std::string> stranger(int fd, const transport_options& options) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (family_of(fd) != AF_UNIX || options.other_users == permission::allow) return std::nullopt;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return fmt::format("who is at the other end cannot be told: {}",
                       std::system_category().message(errno));
  if (peer.uid == ::geteuid() || peer.uid == 0) return std::nullopt;
  return fmt::format(
      "it is a process of user {}, and this one of user {}: allow it with other_users = allow",
      peer.uid, ::geteuid());
}

stream_ptr make_stream(socket connected, const limits& l, std::unique_ptr<tls_session> session) {
  const int fd = connected.native_handle();
  const bool tcp = is_tcp(family_of(fd));
  if (tcp) {
    // Frames leave in batches of ours; the kernel need not wait for more.
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    notice_silence(fd, l.peer_silence_max);
  } else {
    // As much as the kernel lets us: it wakes a writer once three quarters are gone, and each wake
    // costs what a copy of so many bytes does. It looks after tcp by itself.
    set(fd, SOL_SOCKET, SO_SNDBUF, 1 << 20);
  }
  if (session) return make_tls_stream(std::move(connected), std::move(session));
  return std::make_unique<plain_stream>(std::move(connected), tcp ? "tcp" : "uds");
}

}  // namespace coppice::ipc
