// SPDX-License-Identifier: Apache-2.0
#include "spawn/forkserver/packet.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace coppice::spawn {

namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

union descriptor_room {  // As cmsg(3) has it: aligned like a header.
  cmsghdr header;
  std::byte bytes[CMSG_SPACE(sizeof(int))];
};

packet_outcome failure() {
  return errno == EAGAIN || errno == ENOBUFS ? packet_outcome::later : packet_outcome::closed;
}

}  // namespace

std::pair<base::unique_fd, base::unique_fd> packet_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    fail("socketpair");
  return {base::unique_fd(ends[0]), base::unique_fd(ends[1])};
}

packet_outcome send_packet(int socket, const packet& p) {
  iovec part{const_cast<std::byte*>(p.bytes.data()), p.bytes.size()};
  descriptor_room room{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (p.fd) {
    message.msg_control = &room;
    message.msg_controllen = sizeof room;
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = p.fd.get();
    std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? failure() : packet_outcome::done;
}

packet_outcome receive_packet(int socket, packet& into) {
  into.bytes.resize(packet_bytes_max);
  into.fd.reset();
  iovec part{into.bytes.data(), into.bytes.size()};
  descriptor_room room{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = &room;
  message.msg_controllen = sizeof room;
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    // ECONNRESET, once: the other side left without having read all that we sent. It comes before
    // what that side sent last.
  } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
  if (got < 0) return failure();
  if (got == 0) return packet_outcome::closed;  // Nobody sends empty ones.
  into.bytes.resize(static_cast<std::size_t>(got));
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
    into.fd.reset(fd);
  }
  return packet_outcome::done;
}

base::unique_fd in_memory(const std::vector<std::byte>& bytes) {
  base::unique_fd fd(::memfd_create("coppice-order", MFD_CLOEXEC));
  if (!fd) fail("memfd_create");
  for (std::size_t at = 0; at < bytes.size();) {
    const auto n = ::write(fd.get(), bytes.data() + at, bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write to a memfd");
    at += static_cast<std::size_t>(n);
  }
  return fd;
}

std::vector<std::byte> from_memory(int fd) {
  struct stat about{};
  if (::fstat(fd, &about) != 0) fail("fstat of a memfd");
  std::vector<std::byte> bytes(static_cast<std::size_t>(about.st_size));
  for (std::size_t at = 0; at < bytes.size();) {
    const auto n = ::pread(fd, bytes.data() + at, bytes.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("read of a memfd");
    if (n == 0) bytes.resize(at);
    at += static_cast<std::size_t>(n);
  }
  return bytes;
}

}  // namespace coppice::spawn
