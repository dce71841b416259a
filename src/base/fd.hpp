// SPDX-License-Identifier: Apache-2.0
// Owned file descriptors. Every one that Coppice makes is close-on-exec.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

namespace coppice::base {

/// Owns one file descriptor; closes it when it ends. Thread: any, one at a time.
class unique_fd {
 public:
  unique_fd() = default;
  explicit unique_fd(int fd) noexcept : fd_(fd) {}
  unique_fd(unique_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  unique_fd& operator=(unique_fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~unique_fd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

/// A counter that one thread waits on and others ring: eventfd(2), non-blocking, close-on-exec.
/// ring() is async-signal-safe and may be called from any thread. Throws std::system_error when
/// the process is out of file descriptors.
class event_fd {
 public:
  event_fd();
  int fd() const noexcept { return fd_.get(); }
  void ring() const noexcept;
  std::uint64_t clear() const noexcept;  // How often it was rung since the last clear(); 0: never.

 private:
  unique_fd fd_;
};

/// Writes as much of `text` as goes there at once: the reader of a full pipe holds nobody up.
void write_without_waiting(int fd, std::string_view text) noexcept;

}  // namespace coppice::base
