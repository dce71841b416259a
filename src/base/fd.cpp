// SPDX-License-Identifier: Apache-2.0
#include "base/fd.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <system_error>

namespace coppice::base {

void unique_fd::reset(int fd) noexcept {
  // Not retried on EINTR: Linux has released the number by then, and it may be somebody else's.
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

event_fd::event_fd() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!fd_) throw std::system_error(errno, std::generic_category(), "eventfd");
}

void event_fd::ring() const noexcept {
  const int saved = errno;  // Signal handlers call this.
  const std::uint64_t one = 1;
  // EAGAIN means the counter is full: then it is rung already.
  [[maybe_unused]] auto n = ::write(fd_.get(), &one, sizeof one);
  errno = saved;
}

std::uint64_t event_fd::clear() const noexcept {
  std::uint64_t count = 0;
  return ::read(fd_.get(), &count, sizeof count) == sizeof count ? count : 0;
}

void write_without_waiting(int fd, std::string_view text) noexcept {
  pollfd out{fd, POLLOUT, 0};
  while (!text.empty() && ::poll(&out, 1, 0) == 1 && (out.revents & POLLOUT)) {
    // A pipe that is said to be writable takes that much without blocking.
    const auto n = ::write(fd, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF));
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

}  // namespace coppice::base
