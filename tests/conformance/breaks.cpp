// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/breaks.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

namespace coppice::conformance {

namespace {

struct connection {
  int fd;
  bool is_tcp;
};

// The sockets that have a peer and a name: an event loop may wake itself by a pair without names.
std::vector<connection> connections() {
  std::vector<connection> found;
  std::error_code ec;
  for (std::filesystem::directory_iterator it("/proc/self/fd", ec), end; !ec && it != end;
       it.increment(ec)) {
    const int fd = std::stoi(it->path().filename());
    sockaddr_storage peer{}, self{};
    socklen_t peer_size = sizeof peer, self_size = sizeof self;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0) continue;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&self), &self_size) != 0) continue;
    const bool is_tcp = peer.ss_family != AF_UNIX;
    if (is_tcp || peer_size > sizeof(sa_family_t) || self_size > sizeof(sa_family_t))
      found.push_back({fd, is_tcp});
  }
  return found;
}

// The peer hears of a reset where this side has bytes that it did not read, or is told not to
// linger. Closed behind the back of whoever uses it: it hears nothing any more.
void reset(const connection& c) {
  const linger none{.l_onoff = 1, .l_linger = 0};
  if (c.is_tcp) ::setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (int unread = 0; !c.is_tcp && unread == 0 && std::chrono::steady_clock::now() < until;) {
    ::ioctl(c.fd, FIONREAD, &unread);
    // tidy: allow sleep: this actor is to be busy while its peer writes
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup3(nothing, c.fd, O_CLOEXEC);
  ::close(nothing);
}

}  // namespace

void break_connection(const std::string& how) {
  if (how == "kill") ::kill(::getpid(), SIGKILL);
  if (how == "stop") ::kill(::getpid(), SIGSTOP);
  for (const connection& c : connections()) {
    if (how == "half_close") ::shutdown(c.fd, SHUT_WR);
    if (how == "cut") ::shutdown(c.fd, SHUT_RDWR);
    if (how == "reset") reset(c);
  }
}

}  // namespace coppice::conformance
